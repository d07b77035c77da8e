"""Talking to one pod by port-forward, for requests that carry a key.

The API server's service proxy can't: it takes the Authorization header for itself and deletes it before it passes a
request on (Kubernetes, apiserver/pkg/endpoints/filters/authentication.go). A port-forward carries bytes. It ends
inside the pod, so that no NetworkPolicy stands in its way, and needs the right to pods/portforward.
"""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from kubernetes.client import ApiClient
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import portforward, ws_client

from ..errors import RunbookError
from .client import ApiError, Cluster
from .http import HttpServer

_TIMEOUT_S = 300


class _PortForward(ws_client.PortForward):
    """Ends quietly when our end was closed before the last bytes came: the package's thread dies of that, loudly."""

    def _proxy(self) -> None:
        try:
            super()._proxy()
        except (BrokenPipeError, ConnectionResetError):
            self.websocket.close()


ws_client.PortForward = _PortForward  # type: ignore[misc]  # the package lets nobody choose


class _PodApi:
    """What ``portforward`` needs of ``CoreV1Api``, which brings every model of the core API along: half a second."""

    def __init__(self, api_client: ApiClient) -> None:
        self.api_client = api_client

    def portforward(self, pod: str, namespace: str, ports: str, _preload_content: bool) -> Any:
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/portforward"
        request = self.api_client.param_serialize(
            "GET", path, query_params=[("ports", ports)], auth_settings=["BearerToken"]
        )
        return self.api_client.call_api(*request).response


@dataclass(frozen=True)
class PodTunnel(HttpServer):
    """One port of one pod; every request has a connection of its own.

    Attributes:
        key: sent as bearer token; never shown.
        timeout: seconds of silence after which it is given up.
    """

    cluster: Cluster
    namespace: str
    pod: str
    port: int
    key: str | None = field(default=None, repr=False)
    timeout: float = _TIMEOUT_S

    def _chunks(self, method: str, path: str, query: Mapping[str, Any], body: Any) -> Iterator[bytes]:
        doing = self._doing(method, path)
        forward = self._open(doing)
        connection = http.client.HTTPConnection(self.pod, self.port)
        connection.sock = forward.socket(self.port)
        connection.sock.settimeout(self.timeout)
        target = f"/{path.lstrip('/')}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Content-Type": "application/json"} if body is not None else {}
        headers |= {"Authorization": f"Bearer {self.key}"} if self.key else {}
        try:
            connection.request(method, target, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            if response.status >= 400:
                raise ApiError(doing, response.status, _status(response.read()))
            while chunk := response.read1(2**16):
                yield chunk
        except (http.client.HTTPException, OSError) as error:
            why = forward.error(self.port) or str(error) or type(error).__name__
            raise RunbookError(f"{doing}: the connection broke off", why=why) from None
        finally:
            connection.close()
            forward.close()

    def _open(self, doing: str) -> Any:
        # a client of its own: while it connects, the package replaces the client's way to make requests
        api = _PodApi(ApiClient(self.cluster.api.configuration))
        try:
            return portforward(api.portforward, self.pod, self.namespace, str(self.port))
        except ApiException as error:
            said = str(error.reason)
            code = re.search(r"Handshake status (\d{3})", said)
            body = re.search(r'\{"kind":"Status".*\}', said)
            raise ApiError(doing, int(code.group(1)) if code else 0, _status(body.group() if body else said)) from None

    def _doing(self, method: str, path: str) -> str:
        return f"{method} {path} of Pod {self.namespace}/{self.pod}"


def _status(body: bytes | str) -> dict[str, Any]:
    """What a server's error answer says: a Status, vLLM's ``{"error": …}``, or text."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else body
    try:
        found = json.loads(text)
    except ValueError:
        return {"message": text.strip()[:500]}
    error = found.get("error") if isinstance(found, dict) else None
    if isinstance(error, dict):
        return error
    if isinstance(error, str):
        return {"message": error}
    return found if isinstance(found, dict) else {"message": text[:500]}
