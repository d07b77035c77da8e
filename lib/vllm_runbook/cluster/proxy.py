"""Talking to a Service through the API server: no port-forward, no ingress, no address of the pods needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import urllib3

from ..errors import RunbookError
from .client import Cluster
from .http import HttpServer

_CHUNKED = {"Transfer-Encoding": "chunked"}


@dataclass(frozen=True)
class ServiceProxy(HttpServer):
    """One port of a Service (name or number), asked through the API server's proxy.

    Every request is balanced over the Service's ready pods. Meant for a few requests of a person or a check: load
    belongs inside the cluster, not on the API server. It can't carry an API key: the API server takes the
    Authorization header for itself and passes none on (see :class:`PodTunnel`).

    Bodies are sent in chunks. With a Content-Length the API server's proxy (Go's ReverseProxy over HTTP/1) cuts about
    one answer in a hundred off when the server begins it at once: it stops reading the request when the answer
    begins, and takes its own look behind the body's last byte for a broken connection.
    """

    cluster: Cluster
    namespace: str
    service: str
    port: int | str

    def _path(self, path: str) -> str:
        return f"/api/v1/namespaces/{self.namespace}/services/{self.service}:{self.port}/proxy/{path.lstrip('/')}"

    def _chunks(self, method: str, path: str, query: Mapping[str, Any], body: Any) -> Iterator[bytes]:
        doing, target = self._doing(method, path), self._path(path)
        headers = None if body is None else _CHUNKED
        response = self.cluster.raw(
            method, target, query=query, body=body, headers=headers, doing=doing, timeout=(10, 300)
        )
        try:
            yield from response.stream(2**16, decode_content=True)
        except urllib3.exceptions.ProtocolError as error:
            raise RunbookError(f"{doing}: the answer broke off", why=str(error)) from error

    def _doing(self, method: str, path: str) -> str:
        return f"{method} {path} of Service {self.namespace}/{self.service}"
