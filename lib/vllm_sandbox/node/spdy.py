"""SPDY/3.1 frames, as far as port forwarding uses them: the API server speaks it to kubelets.

There is no flow control by window: neither client-go nor the kubelet (moby/spdystream) does any.
Source: SPDY Protocol, Draft 3.1 (chromium.org).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

VERSION = 3
FIN = 0x01
MOST = 2**24 - 1  # bytes of one frame

_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie "
    "keep-alive origin"
)
_TEXT = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative "
    "Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 "
    "Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec "
    "00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,"
    "application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8"
    "charset=iso-8859-1,utf-,*,enq=0."
)
#: What both ends' zlib begins with (section 2.6.10.1).
DICTIONARY = (
    b"".join(struct.pack(">I", len(word)) + word.replace("_", " ").encode() for word in _WORDS.split()) + _TEXT.encode()
)


class Kind(IntEnum):
    """Types of control frames, and ours for one with data."""

    DATA = 0
    SYN_STREAM = 1
    SYN_REPLY = 2
    RST_STREAM = 3
    PING = 6
    GOAWAY = 7


@dataclass(frozen=True)
class Frame:
    """One frame: ``headers`` of a SYN_STREAM, ``data`` of a DATA frame; ``stream`` is a PING's id, too."""

    kind: Kind
    stream: int
    fin: bool = False
    data: bytes = b""
    headers: Mapping[str, str] | None = None


class SpdyError(Exception):
    """What came isn't SPDY/3.1."""


class Reader:
    """Bytes as they come, into frames. Header blocks of one connection share a compressor's state."""

    def __init__(self) -> None:
        self._buffer = b""
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)

    def frames(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete now; those of no meaning here are left out.

        Raises:
            SpdyError: a frame that can't be understood.
        """
        self._buffer += data
        while len(self._buffer) >= 8:
            first, second = struct.unpack_from(">II", self._buffer)
            length = second & MOST
            if len(self._buffer) < 8 + length:
                return
            body, self._buffer = self._buffer[8 : 8 + length], self._buffer[8 + length :]
            flags = second >> 24
            if not first >> 31:
                yield Frame(Kind.DATA, first, bool(flags & FIN), body)
            elif frame := self._control(first, flags, body):
                yield frame

    def _control(self, first: int, flags: int, body: bytes) -> Frame | None:
        if (first >> 16) & 0x7FFF != VERSION:
            raise SpdyError(f"version {(first >> 16) & 0x7FFF}")
        try:
            kind = Kind(first & 0xFFFF)
        except ValueError:
            return None  # SETTINGS, HEADERS, WINDOW_UPDATE
        try:
            (number,) = struct.unpack_from(">I", body)
            headers = self._headers(body[10:]) if kind is Kind.SYN_STREAM else None
        except (struct.error, zlib.error, UnicodeDecodeError) as error:
            raise SpdyError(f"{kind.name}: {error}") from None
        return Frame(kind, number & 0x7FFFFFFF, bool(flags & FIN), headers=headers)

    def _headers(self, block: bytes) -> dict[str, str]:
        plain = self._inflate.decompress(block)
        (count,) = struct.unpack_from(">I", plain)
        position, texts = 4, []
        for _ in range(2 * count):
            (size,) = struct.unpack_from(">I", plain, position)
            texts.append(plain[position + 4 : position + 4 + size].decode())
            position += 4 + size
        return dict(zip(texts[::2], texts[1::2], strict=True))


class Writer:
    """Frames into bytes."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def data(self, stream: int, data: bytes, *, fin: bool = False) -> bytes:
        """One DATA frame."""
        return struct.pack(">II", stream, (FIN if fin else 0) << 24 | len(data)) + data

    def reply(self, stream: int) -> bytes:
        """SYN_REPLY without headers."""
        block = self._deflate.compress(struct.pack(">I", 0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return self._control(Kind.SYN_REPLY, struct.pack(">I", stream) + block)

    def ping(self, number: int) -> bytes:
        """The answer to a PING is the same PING."""
        return self._control(Kind.PING, struct.pack(">I", number))

    @staticmethod
    def _control(kind: Kind, body: bytes) -> bytes:
        return struct.pack(">HHI", 0x8000 | VERSION, kind, len(body)) + body
