"""Asking a server in the cluster: text, JSON or a stream of events, whichever way the bytes take."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

from .client import ApiError
from .stream import split_lines


class HttpServer(ABC):
    """A server behind some way of reaching it; :class:`ServiceProxy` and :class:`PodTunnel` are such ways."""

    def text(self, path: str, **query: Any) -> str:
        """GET; the answer as text.

        Raises:
            ApiError: nobody is there to answer, or the server's own error.
        """
        return b"".join(self._chunks("GET", path, query, None)).decode()

    def json(self, path: str, body: Any = None, **query: Any) -> Any:
        """GET, or POST when there is a body; the answer is JSON.

        Raises:
            ApiError: as :meth:`text`.
        """
        return json.loads(b"".join(self._chunks("GET" if body is None else "POST", path, query, body)))

    def stream(self, path: str, body: Any) -> Iterator[Any]:
        """POST; each server-sent event's data as it comes, decoded from JSON. ``[DONE]`` comes as that text.

        Raises:
            ApiError: as :meth:`text`, or an error event in the stream (which has status 200).
            RunbookError: the stream broke off.
        """
        for line in split_lines(self._chunks("POST", path, {}, body)):
            if not line.startswith("data: "):
                continue
            data = line[len("data: ") :].strip()
            if data == "[DONE]":
                yield data
                return
            event = json.loads(data)
            if "error" in event:
                raise ApiError(self._doing("POST", path), int(event["error"].get("code") or 0), event["error"])
            yield event

    @abstractmethod
    def _chunks(self, method: str, path: str, query: Mapping[str, Any], body: Any) -> Iterator[bytes]:
        """The body of one answer as it comes; raises ApiError for a status of 400 and above."""

    @abstractmethod
    def _doing(self, method: str, path: str) -> str:
        """A request in words, for errors."""
