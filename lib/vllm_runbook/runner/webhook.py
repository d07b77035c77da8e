"""One message when a run ends. Whether it arrives doesn't change how the run went."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ..errors import RunbookError
from .secrets import hide

#: The address may be a secret by itself (Slack's are): from the environment, it is in no process list.
VARIABLE = "RUNBOOK_WEBHOOK_URL"
_SECONDS = 10


def address(given: str | None) -> str | None:
    """The address to tell, from the command line or the environment; scrubbed from whatever is written from now on.

    It is taken out of the environment, so that notebooks don't see it.

    Raises:
        RunbookError: it is no http or https address.
    """
    url = os.environ.pop(VARIABLE, None)
    url = given or url
    if not url:
        return None
    hide(url)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise RunbookError("--webhook: the address must begin with http:// or https://")
    return url


def send(url: str, body: Mapping[str, Any]) -> str:
    """POST the document as JSON; returns why it didn't arrive, or nothing.

    Proxies of the environment (HTTPS_PROXY, NO_PROXY) are used; the address isn't in what is returned.
    """
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method="POST")
    host = urlsplit(url).hostname
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS):
            return ""
    except urllib.error.HTTPError as error:
        return f"{host} answered {error.code} {error.reason}"
    except (OSError, ValueError) as error:
        return f"{host}: {getattr(error, 'reason', error)}"
