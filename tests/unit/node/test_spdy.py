"""SPDY/3.1 frames: the words of the draft, and what a client sends in pieces."""

from __future__ import annotations

import struct
import zlib

import pytest

from vllm_sandbox.node.spdy import DICTIONARY, Frame, Kind, Reader, SpdyError, Writer


def syn_stream(deflate: zlib._Compress, stream: int, headers: dict[str, str]) -> bytes:
    plain = struct.pack(">I", len(headers))
    for text in (part for pair in headers.items() for part in pair):
        plain += struct.pack(">I", len(text)) + text.encode()
    block = deflate.compress(plain) + deflate.flush(zlib.Z_SYNC_FLUSH)
    body = struct.pack(">IIH", stream, 0, 0) + block
    return struct.pack(">HHI", 0x8003, 1, len(body)) + body


def test_the_dictionary_is_the_drafts() -> None:
    assert (len(DICTIONARY), zlib.adler32(DICTIONARY)) == (1423, 0xE3C6A7C2)  # section 2.6.10.1


def test_frames_come_in_any_pieces_and_header_blocks_share_their_state() -> None:
    deflate = zlib.compressobj(zdict=DICTIONARY)
    headers = {"streamtype": "data", "port": "8000", "requestid": "0"}
    sent = syn_stream(deflate, 1, headers) + syn_stream(deflate, 3, headers)
    sent += Writer().data(3, b"hello", fin=True) + Writer().ping(7)
    settings = struct.pack(">HHI", 0x8003, 4, 4) + bytes(4)
    for size in (1, 7, 1000):
        reader, sending = Reader(), settings + sent
        found = [f for at in range(0, len(sending), size) for f in reader.frames(sending[at : at + size])]
        assert found == [
            Frame(Kind.SYN_STREAM, 1, headers=headers),
            Frame(Kind.SYN_STREAM, 3, headers=headers),
            Frame(Kind.DATA, 3, True, b"hello"),
            Frame(Kind.PING, 7),
        ]


def test_what_is_no_spdy_is_refused() -> None:
    with pytest.raises(SpdyError, match="version"):
        list(Reader().frames(struct.pack(">HHI", 0x8002, 1, 4) + bytes(4)))
    with pytest.raises(SpdyError, match="SYN_STREAM"):
        list(Reader().frames(struct.pack(">HHI", 0x8003, 1, 12) + bytes(12)))
