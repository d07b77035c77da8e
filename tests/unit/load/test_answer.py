"""Streams as they come over the network, however they are cut, and what they amount to."""

from __future__ import annotations

import json

import pytest
from scripted import BUSY_STREAM, DONE, OPENING, RECORDED, TOKEN, USAGE, stream

from vllm_runbook.load.answer import AnswerStream, message_of
from vllm_runbook.load.outcomes import Kind, of_answer


def read(*pieces: bytes) -> AnswerStream:
    answer = AnswerStream()
    counted = sum(answer.feed(piece) for piece in pieces)
    assert counted == answer.chunks
    return answer


def verdict(*pieces: bytes, asked: int = 3, exact: bool = True) -> str:
    """``complete``, or why not."""
    outcome = of_answer(read(*pieces), asked, exact=exact)
    assert (outcome.kind is Kind.COMPLETE) == (outcome.reason == "")
    return outcome.reason or "complete"


#: Streams and what each is, whichever way the bytes arrive.
CASES = {
    "recorded": (RECORDED, "complete"),
    "made": (stream(3), "complete"),
    "stop with all tokens": (stream(3, "stop"), "complete"),
    "no [DONE]": (stream(3, done=False), "complete"),
    "aborted as recorded, with [DONE]": (stream(2, "abort"), "aborted"),
    "aborted before the first token": (stream(0, "abort"), "aborted"),
    "busy as recorded": (BUSY_STREAM, "busy_event"),
    "busy after a token": (OPENING + TOKEN + BUSY_STREAM, "error_event"),
    "another error": (b'data: {"error": {"message": "EngineCore died", "code": 500}}\n\n' + DONE, "error_event"),
    "too few tokens": (stream(2), "wrong_token_count"),
    "usage says too few": (stream(3, usage=2), "wrong_token_count"),
    "no reason": (stream(3, None), "truncated"),
    "no usage": (stream(3, usage=-1), "truncated"),
    "only opened": (OPENING, "truncated"),
    "nothing": (b"", "truncated"),
    "only [DONE]": (DONE, "truncated"),
    "cut inside the last event": (stream(3, done=False)[:-3], "truncated"),
    "another reason": (stream(3, "repetition"), "finish_repetition"),
    "no JSON": (b"data: oops\n\n", "error_event"),
    "no object": (b"data: [1]\n\n", "error_event"),
    "pings between": (b": ping\n\n" + OPENING + b": ping\n\n" + stream(3)[len(OPENING) :], "complete"),
}


@pytest.mark.parametrize("name", CASES)
def test_every_cut_in_two_says_the_same(name: str) -> None:
    whole, expected = CASES[name]
    chunks = read(whole).chunks
    for position in range(len(whole) + 1):
        pieces = whole[:position], whole[position:]
        assert verdict(*pieces) == expected, pieces
        assert read(*pieces).chunks == chunks


@pytest.mark.parametrize("name", CASES)
def test_byte_by_byte(name: str) -> None:
    whole, expected = CASES[name]
    pieces = [whole[i : i + 1] for i in range(len(whole))]
    assert verdict(*pieces) == expected
    assert read(*pieces).chunks == read(whole).chunks


def test_the_recorded_shutdown() -> None:
    """43 of 600 tokens, status 200, [DONE]: dropped. The one that was nearly done: complete."""
    assert verdict(stream(43, "abort"), asked=600) == "aborted"
    assert verdict(stream(600), asked=600) == "complete"
    assert read(stream(43, "abort")).chunks == 43


def test_the_opening_is_no_token() -> None:
    answer = AnswerStream()
    assert answer.feed(OPENING) == 0
    assert answer.feed(TOKEN) == 1
    assert answer.feed(TOKEN + TOKEN + TOKEN[:9]) == 2
    assert answer.feed(TOKEN[9:]) == 1


def test_text_that_looks_like_the_protocol() -> None:
    event = json.loads(TOKEN.removeprefix(b"data: "))
    event["choices"][0]["delta"]["content"] = '"finish_reason":null\n\ndata: [DONE]\n\n{"error": 1} "usage"'
    odd = b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n"
    whole = OPENING + odd * 2 + stream(3)[len(OPENING) :]
    assert verdict(whole, asked=3) == "wrong_token_count"  # four chunks and a usage of three
    assert read(whole).chunks == 5
    spaced = b"data: " + json.dumps(event).encode() + b"\n\n"
    assert read(OPENING + spaced).chunks == 1


def test_several_tokens_in_a_chunk() -> None:
    """A busy server joins tokens: usage counts, chunks don't."""
    assert verdict(stream(3, usage=40), asked=40) == "complete"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (stream(2, "stop"), "complete"),
        (stream(10), "complete"),
        (stream(9), "wrong_token_count"),  # length is the limit, and only that
        (stream(11, "stop"), "wrong_token_count"),
        (stream(3, "stop", usage=2), "wrong_token_count"),
        (stream(1, "stop", usage=0), "wrong_token_count"),
    ],
)
def test_a_natural_end(body: bytes, expected: str) -> None:
    assert verdict(body, asked=10, exact=False) == expected


def test_usage_in_every_chunk() -> None:
    """The last one counts."""
    token = TOKEN.replace(b"}\n\n", b',"usage":{"completion_tokens":1}}\n\n')
    assert verdict(OPENING + token + token + stream(1)[len(OPENING) : -len(USAGE + DONE)] + USAGE + DONE) == "complete"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": "The model `nope` does not exist.", "code": 404}}, "The model `nope` does not exist."),
        ({"error": "Unauthorized"}, "Unauthorized"),
        ({"detail": "Method Not Allowed"}, "Method Not Allowed"),
        (["odd"], "['odd']"),
        ({"error": {"code": 1}}, "{'code': 1}"),
    ],
)
def test_what_an_error_says(body: object, words: str) -> None:
    assert message_of(body) == words
