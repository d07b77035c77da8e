"""Text to tokens and back, without a vocabulary: pieces of words, so that counts are plausible and stable."""

from __future__ import annotations

import re
import zlib

_PIECE = re.compile(r"\s?[^\W\d_]{1,6}|\s?\d{1,3}|\s?[^\w\s]|\s|_")
#: What a chat template adds: per message, and to begin the answer.
PER_MESSAGE, PER_CHAT = 4, 3

_ANSWER = (
    " This is a simulated answer; no model runs here. A server keeps the keys and values of every token that it has"
    " read, so that each new token costs one step and not the whole text again. The cache grows with the context, and"
    " when it is full, requests wait in the queue. That is why memory, and not speed, decides how many people can be"
    " served at once."
)


def pieces(text: str) -> list[str]:
    """The tokens of a text; joined they are the text."""
    return _PIECE.findall(text)


def count(text: str) -> int:
    return len(pieces(text))


def token_id(piece: str, vocab: int) -> int:
    return zlib.crc32(piece.encode()) % vocab


ANSWER = tuple(pieces(_ANSWER))


def answer_piece(position: int) -> str:
    """Token number ``position`` of every answer: the first says that it is simulated."""
    piece = ANSWER[position % len(ANSWER)]
    return piece.lstrip() if position == 0 else piece


def wrong_piece(position: int) -> str:
    """The same of a version whose answers are wrong: the words are there, in an order that says nothing."""
    return ANSWER[-1 - position % len(ANSWER)]


#: Where an answer may end by itself: after a sentence, up to four times round.
_ENDS = tuple(
    turn * len(ANSWER) + position + 1 for turn in range(4) for position, piece in enumerate(ANSWER) if piece == "."
)


def natural_length(prompt: str, salt: int = 0) -> int:
    """After how many tokens an answer ends by itself, at the end of a sentence; always the same for a prompt."""
    return _ENDS[zlib.crc32(f"{salt}{prompt}".encode()) % len(_ENDS)]
