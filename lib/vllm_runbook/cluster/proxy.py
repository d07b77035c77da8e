"""Talking to a Service through the API server: no port-forward, no ingress, no address of the pods needed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import urllib3

from ..errors import RunbookError
from .client import ApiError, Cluster
from .stream import split_lines

_CHUNKED = {"Transfer-Encoding": "chunked"}


@dataclass(frozen=True)
class ServiceProxy:
    """One port of a Service (name or number), asked through the API server's proxy.

    Every request is balanced over the Service's ready pods. Meant for a few requests of a person or a check: load
    belongs inside the cluster, not on the API server.

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

    def text(self, path: str, **query: Any) -> str:
        """GET; the answer as text.

        Raises:
            ApiError: the Service has no ready pod (503), or the server's own error.
        """
        response = self.cluster.raw("GET", self._path(path), query=query, doing=self._doing("GET", path))
        return str(response.data.decode())

    def json(self, path: str, body: Any = None, **query: Any) -> Any:
        """GET, or POST when there is a body; the answer is JSON.

        Raises:
            ApiError: as :meth:`text`.
        """
        method = "GET" if body is None else "POST"
        doing = self._doing(method, path)
        headers = None if body is None else _CHUNKED
        response = self.cluster.raw(method, self._path(path), query=query, body=body, headers=headers, doing=doing)
        return json.loads(response.data)

    def stream(self, path: str, body: Any) -> Iterator[Any]:
        """POST; each server-sent event's data as it comes, decoded from JSON. ``[DONE]`` comes as that text.

        Raises:
            ApiError: as :meth:`text`, or an error event in the stream (which has status 200).
            RunbookError: the stream broke off.
        """
        doing = self._doing("POST", path)
        for line in self._stream_lines(path, body, doing):
            if not line.startswith("data: "):
                continue
            data = line[len("data: ") :].strip()
            if data == "[DONE]":
                yield data
                return
            event = json.loads(data)
            if "error" in event:
                raise ApiError(doing, int(event["error"].get("code") or 0), event["error"])
            yield event

    def _stream_lines(self, path: str, body: Any, doing: str) -> Iterator[str]:
        target, timeout = self._path(path), (10, 300)
        response = self.cluster.raw("POST", target, body=body, headers=_CHUNKED, doing=doing, timeout=timeout)
        try:
            yield from split_lines(response)
        except urllib3.exceptions.ProtocolError as error:
            raise RunbookError(f"{doing}: the answer broke off", why=str(error)) from error

    def _doing(self, method: str, path: str) -> str:
        return f"{method} {path} of Service {self.namespace}/{self.service}"
