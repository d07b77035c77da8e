"""Registries that don't give their images to everybody: a private one, and one that counts pulls.

The words are containerd's (remotes/docker: ``failed to authorize``, ``unexpected status code``) and Docker Hub's.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from vllm_sandbox.images.registry import HOST, LIMITED, PRIVATE, Image, PullError, find, split

#: The account of the sandbox's registry. No secret: it opens nothing but the sandbox.
ACCOUNT = ("robot", "sandbox-pull")
_LIMIT = (
    "429 Too Many Requests - Server message: toomanyrequests: You have reached your unauthenticated pull rate limit. "
    "https://www.docker.com/increase-rate-limit"
)


class PullRefused(PullError):
    """The image is there, and the registry doesn't give it to this puller."""


def pull(reference: str, configs: Iterable[Mapping[str, Any]]) -> Image:
    """The image that ``reference`` names, as far as the registry gives it away.

    Args:
        configs: the decoded ``.dockerconfigjson`` of the pod's pull secrets.

    Raises:
        UnknownImage: there is none.
        PullRefused: it wants a login, or other credentials, or has given enough images away.
    """
    found = find(reference)
    logins = list(_logins(configs))
    if reference.startswith(PRIVATE) and ACCOUNT not in logins:
        kind = "oauth" if logins else "anonymous"
        scope = f"repository%3A{split(reference)[0].removeprefix(f'{HOST}/').replace('/', '%2F')}%3Apull"
        raise PullRefused(
            f'failed to pull and unpack image "{reference}": failed to resolve reference "{reference}": failed to '
            f"authorize: failed to fetch {kind} token: unexpected status from GET request to "
            f"https://{HOST}/token?scope={scope}&service={HOST}: 401 Unauthorized"
        )
    if reference.startswith(LIMITED) and ACCOUNT not in logins:
        path = split(reference)[0].removeprefix(f"{HOST}/")
        digest = hashlib.sha256(path.encode()).hexdigest()
        raise PullRefused(
            f'failed to pull and unpack image "{reference}": failed to copy: httpReadSeeker: failed open: unexpected '
            f"status code https://{HOST}/v2/{path}/manifests/sha256:{digest}: {_LIMIT}"
        )
    return found


def _logins(configs: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, str]]:
    """User and password for the sandbox's registry."""
    for config in configs:
        for server, entry in (config.get("auths") or {}).items():
            if server.removeprefix("https://").split("/")[0] != HOST:
                continue
            if "username" in entry:
                yield entry["username"], entry.get("password", "")
            elif text := entry.get("auth"):
                user, _, password = base64.b64decode(text).decode(errors="replace").partition(":")
                yield user, password


def config_of(secret: Mapping[str, Any]) -> dict[str, Any]:
    """The decoded ``.dockerconfigjson`` of a Secret; empty where it has none, or none that can be read."""
    try:
        document = json.loads(base64.b64decode((secret.get("data") or {}).get(".dockerconfigjson", "")))
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
