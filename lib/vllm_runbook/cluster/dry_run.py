"""A dry run: everything is asked and previewed, nothing is changed.

It is held where requests leave: a client that sends no write but those that the API server itself only tries
(``dryRun=All``). Whoever needs what would have been changed ends there, see :class:`DryRunEnded`.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kubernetes import client

_READING = ("GET", "HEAD", "OPTIONS")
#: Questions that are asked by POST; nothing is stored.
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubject"


class DryRunEnded(Exception):
    """A dry run can't go on: what comes next would change something, or needs what would have been changed.

    No failure, and so no RunbookError: nothing but the notebook itself takes it.
    """


class DryClient(client.ApiClient):
    """The ``kubernetes`` package's transport without writes.

    Raises:
        DryRunEnded: instead of sending one.
    """

    def call_api(
        self,
        method: str,
        url: str,
        header_params: Any = None,
        body: Any = None,
        post_params: Any = None,
        _request_timeout: Any = None,
    ) -> Any:
        """Send a request that changes nothing."""
        if not harmless(method, url, body):
            raise DryRunEnded(f"{method} {urlsplit(url).path} would change something")
        return super().call_api(method, url, header_params, body, post_params, _request_timeout)


def harmless(method: str, url: str, body: Any) -> bool:
    """Whether a request can't change anything: it reads, asks, or says ``dryRun=All``."""
    address = urlsplit(url)
    if method in _READING or (method == "POST" and address.path.startswith(_REVIEWS)):
        return True
    if isinstance(body, str | bytes):
        try:
            body = json.loads(body)
        except ValueError:
            body = None
    # Both have to be looked at: DELETE has its options in the body.
    in_body = isinstance(body, dict) and method == "DELETE" and body.get("dryRun") == ["All"]
    through_proxy = "/proxy/" in address.path  # a query there is the Service's, not the API server's
    return in_body or (parse_qs(address.query).get("dryRun") == ["All"] and not through_proxy)
