"""A streamed chat completion, read as it comes: bytes are counted, and JSON is decoded only where it matters."""

from __future__ import annotations

import json
from typing import Any

_SEPARATOR = b"\n\n"
#: In every chunk that is neither the last one nor an error. Text can't contain it: JSON escapes quotation marks.
_PLAIN = b'"finish_reason":null'
#: Ends that a model or a limit gives an answer; any other is somebody's doing.
NATURAL = ("stop", "length")


class AnswerStream:
    """State of one answer.

    Attributes:
        chunks: chunks with a token (the server may put several tokens into one when it is busy).
        finish_reason: as the server says it, None while it hasn't.
        completion_tokens: of the usage chunk, None while there was none.
        error: message of an error event.
    """

    def __init__(self) -> None:
        self.chunks = 0
        self.finish_reason: str | None = None
        self.completion_tokens: int | None = None
        self.error: str | None = None
        self._opened = False
        self._rest = b""

    def feed(self, data: bytes) -> int:
        """Take in bytes as the network cut them; returns how many chunks with a token they complete."""
        if self._rest:
            data = self._rest + data
        end = data.rfind(_SEPARATOR) + len(_SEPARATOR)
        if end < len(_SEPARATOR):
            self._rest = data
            return 0
        self._rest, data = data[end:], data[:end]
        before, events = self.chunks, data.count(_SEPARATOR)
        if self._opened and data.count(_PLAIN) == events:
            self.chunks += events
        else:
            for event in data.split(_SEPARATOR):
                self._take(event.strip())
        return self.chunks - before

    def _take(self, event: bytes) -> None:
        if not event.startswith(b"data:") or event.endswith(b"[DONE]"):
            return  # a comment, or the end, which says nothing about completeness
        try:
            body = json.loads(event.removeprefix(b"data:"))
            if body.get("error"):
                self.error = message_of(body)
                return
            if usage := body.get("usage"):
                self.completion_tokens = int(usage["completion_tokens"])
            for choice in body.get("choices", []):
                self._choice(choice)
        except (ValueError, TypeError, AttributeError, KeyError):
            self.error = f"not an event of a chat completion: {event[:200].decode(errors='replace')}"

    def _choice(self, choice: dict[str, Any]) -> None:
        reason, delta = choice.get("finish_reason"), choice.get("delta") or {}
        text = delta.get("content")
        opening = not self._opened and "role" in delta and reason is None and not text
        self._opened = True
        if opening:
            return  # recorded: the first chunk only names the role
        if reason is None or reason in NATURAL or text:  # the chunk of an abort has no token
            self.chunks += 1
        self.finish_reason = reason or self.finish_reason


def message_of(body: Any) -> str:
    """What an error answer says, in the shapes that the server has for it."""
    error = body.get("error", body.get("detail")) if isinstance(body, dict) else body
    message = error.get("message") if isinstance(error, dict) else error
    return " ".join(str(message or error or body).split())
