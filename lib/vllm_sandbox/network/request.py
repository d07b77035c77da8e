"""HTTP/1 request heads, and where a request's body ends: all that the proxy has to understand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

HEAD_LIMIT = 64 * 1024
_HEX = re.compile(rb"[0-9A-Fa-f]{1,16}").fullmatch
_DROPPED = (b"proxy-connection", b"proxy-authorization", b"proxy-authenticate", b"keep-alive")


class BadRequest(Exception):
    """The client sent something that is no request for a proxy."""


@dataclass(frozen=True)
class Request:
    """A request head, ready to pass on.

    Attributes:
        tunnel: CONNECT: no head is passed on.
        head: bytes for the server, in origin form.
        upgrade: the connection may stop being HTTP after this.
        length: bytes of body; None for a chunked one.
    """

    host: str
    port: int
    tunnel: bool
    head: bytes
    upgrade: bool = False
    length: int | None = 0


def parse(head: bytes) -> Request:
    """Understand a request head (without its final empty line).

    Raises:
        BadRequest: it isn't one that a proxy can serve.
    """
    line, _, rest = head.partition(b"\r\n")
    try:
        method, target, version = line.split(b" ")
    except ValueError:
        raise BadRequest(f"not a request line: {line[:80]!r}") from None
    if method == b"CONNECT":
        host, port = _authority(target.decode("latin-1"), None)
        return Request(host, port, tunnel=True, head=b"")
    try:
        parts = urlsplit(target.decode("latin-1"))
    except ValueError as error:
        raise BadRequest(f"not a URL: {target[:80]!r}: {error}") from None
    if parts.scheme != "http" or not parts.netloc:
        raise BadRequest(f"a proxy needs an http:// URL, not {target[:80]!r}")
    host, port = _authority(parts.netloc.rpartition("@")[2], 80)
    kept, length, upgrade = _headers(rest)
    origin = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    passed_on = b"\r\n".join([b" ".join((method, origin.encode("latin-1"), version)), *kept, b"", b""])
    return Request(host, port, tunnel=False, head=passed_on, upgrade=upgrade, length=length)


def _headers(text: bytes) -> tuple[list[bytes], int | None, bool]:
    kept: list[bytes] = []
    length: int | None = 0
    upgrade = False
    for header in text.split(b"\r\n"):
        name, _, value = header.partition(b":")
        name, value = name.strip().lower(), value.strip()
        if not header or name in _DROPPED:
            continue
        if name == b"content-length":
            if not value.isdigit():
                raise BadRequest(f"bad Content-Length {value[:40]!r}")
            length = length if length is None else int(value)  # chunked wins
        elif name == b"transfer-encoding" and value.lower().endswith(b"chunked"):
            length = None
        elif name == b"upgrade":
            upgrade = True
        kept.append(header)
    return kept, length, upgrade


def _authority(text: str, default: int | None) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = text, str(default or "")
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise BadRequest(f"no host and port in {text[:80]!r}")
    return host.strip("[]"), int(port)


class Body:
    """Counts a request body as it passes, to know where the next head begins."""

    def __init__(self, length: int | None) -> None:
        self._left = length or 0
        self._chunked = length is None
        self._line = b""
        self._trailer = False

    def take(self, data: bytes) -> int:
        """How many of these bytes still belong to the body."""
        if not self._chunked:
            taken = min(self._left, len(data))
            self._left -= taken
            return taken
        position = 0
        while position < len(data) and self._chunked:
            if self._left:
                step = min(self._left, len(data) - position)
                self._left -= step
                position += step
            else:
                position = self._chunk_line(data, position)
        return position

    @property
    def complete(self) -> bool:
        return not self._left and not self._chunked

    def _chunk_line(self, data: bytes, position: int) -> int:
        """Read (part of) a chunk's size line or of the trailer."""
        end = data.find(b"\n", position)
        if end < 0:
            self._line += data[position:]
            if len(self._line) > HEAD_LIMIT:
                raise BadRequest("a chunk's size line is too long")
            return len(data)
        line, self._line = (self._line + data[position:end]).rstrip(b"\r"), b""
        if self._trailer:
            self._chunked = line != b""
        else:
            digits = line.partition(b";")[0].strip()
            if not _HEX(digits):
                raise BadRequest(f"bad chunk size {line[:40]!r}")
            size = int(digits, 16)
            self._trailer = size == 0
            self._left = size + 2 if size else 0  # the chunk and its line end
        return end + 1
