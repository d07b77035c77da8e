"""Contents of files that are computed when they are read, so that weights need no disk and no memory.

A generated file is a real header followed by pseudo-random bytes that depend on a seed and on
their position only: any range can be produced at once, in any order, always the same. Read as BF16,
as most weights are, they are numbers between 0.008 and 0.03 of either sign: no infinity and no NaN, so
that a server can compute with the toy's.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

_BLOCK = 64 * 1024
READ_BYTES = 256 * 1024
"""Largest piece that :func:`read` yields, in bytes."""

# Part of every digest's key: change it together with what the generator produces.
GENERATOR = "shake128-counter-2"

#: The upper byte of a BF16 number (sign and seven bits of the exponent) from a random one: the sign stays.
_UPPER = bytes(0x3C | byte & 0x80 for byte in range(256))


@dataclass(frozen=True)
class Content:
    """A file's bytes: ``prefix``, then ``generated`` pseudo-random bytes from ``seed``."""

    prefix: bytes
    generated: int = 0
    seed: str = ""

    @property
    def size(self) -> int:
        return len(self.prefix) + self.generated

    @functools.cached_property
    def key(self) -> str:
        """Names these bytes without producing them all."""
        head = hashlib.sha256(self.prefix).hexdigest()
        return hashlib.sha256(f"{GENERATOR} {head} {self.generated} {self.seed}".encode()).hexdigest()


@functools.lru_cache(maxsize=256)
def _base(seed: str) -> bytes:
    block = bytearray(hashlib.shake_128(seed.encode()).digest(_BLOCK))
    block[1::2] = block[1::2].translate(_UPPER)
    return bytes(block)


def _generated(seed: str, start: int, stop: int) -> Iterator[bytes]:
    base = _base(seed)
    for number in range(start // _BLOCK, (stop + _BLOCK - 1) // _BLOCK):
        first = number * _BLOCK
        head = bytearray(base[:8])
        head[::2] = number.to_bytes(4, "little")  # lower bytes: still numbers
        block = bytes(head) + base[8:]
        yield block[max(0, start - first) : stop - first]


def read(content: Content, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
    """Yield the bytes of ``[start, stop)`` in pieces of at most :data:`READ_BYTES`."""
    stop = content.size if stop is None else min(stop, content.size)
    head = len(content.prefix)
    if start < head:
        for offset in range(start, min(stop, head), READ_BYTES):
            yield content.prefix[offset : min(offset + READ_BYTES, stop, head)]
    if stop <= head:
        return
    pending: list[bytes] = []
    for block in _generated(content.seed, max(start, head) - head, stop - head):
        pending.append(block)
        if len(pending) == READ_BYTES // _BLOCK:
            yield b"".join(pending)
            pending.clear()
    if pending:
        yield b"".join(pending)


def sha256(content: Content) -> str:
    """Hex SHA-256 of the whole content. Takes about a second per 300 MiB."""
    digest = hashlib.sha256()
    for piece in read(content):
        digest.update(piece)
    return digest.hexdigest()


def git_blob_sha1(data: bytes) -> str:
    """The object id that git gives a file with these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
