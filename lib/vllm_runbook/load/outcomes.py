"""What became of a request: exactly one outcome each, with a reason that programs can count."""

from __future__ import annotations

import enum
import errno
import json
from dataclasses import dataclass

import aiohttp

from vllm_runbook.load.answer import NATURAL, AnswerStream, message_of

#: The admission limit's words (--max-num-queued-reqs, --max-num-queued-tokens), in a 503 or in a 200's error event.
BUSY = "engine is currently busy"
#: Reason of requests that this machine couldn't send: no files or ports left.
CLIENT_LIMIT = "client_limit"

_CLIENT_ERRNOS = (errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM)
_WORDS_LIMIT = 500


class ExitCode(enum.IntEnum):
    """Exit codes of the load generator."""

    OK = 0
    """It ran to its end. What became of the requests is in the result, not in the exit code."""
    ARGUMENTS = 2
    """An option makes no sense, or the server refused the first request for what it asks: nothing else was sent."""
    SIGINT = 130
    SIGTERM = 143
    """Stopped by a signal (128 + number); the result says what was counted until then."""


class Kind(enum.StrEnum):
    """The three ways in which a request ends."""

    COMPLETE = "complete"
    """The whole answer came: a natural end, and as many tokens as asked for."""
    DROPPED = "dropped"
    """The client got no answer or a part of one."""
    REJECTED = "rejected"
    """The server's admission limit said no, with a 503 that clients understand."""


@dataclass(frozen=True)
class Outcome:
    """How one attempt ended.

    Attributes:
        reason: a short name for counting; empty if complete.
        status: the HTTP status, if there was one.
        words: what the server said, for people.
    """

    kind: Kind
    reason: str = ""
    status: int | None = None
    words: str = ""

    @property
    def refuses_arguments(self) -> bool:
        """Whether the server says that the request itself is wrong (4xx, less those that ask to come again)."""
        return self.status is not None and 400 <= self.status < 500 and self.status not in (408, 425, 429)


def dropped(reason: str, status: int | None = None, words: str = "") -> Outcome:
    return Outcome(Kind.DROPPED, reason, status, words[:_WORDS_LIMIT])


def of_answer(answer: AnswerStream, asked: int, *, exact: bool) -> Outcome:
    """The outcome of a stream with status 200 that has ended. A status says nothing: aborts have 200 and [DONE] too.

    Args:
        asked: max_tokens of the request.
        exact: whether the answer must have that many tokens (ignore_eos).
    """
    if answer.error is not None:
        early = BUSY in answer.error and not answer.chunks
        return dropped("busy_event" if early else "error_event", 200, answer.error)
    finish, tokens = answer.finish_reason, answer.completion_tokens
    if finish is not None and finish not in NATURAL:
        return dropped("aborted" if finish == "abort" else f"finish_{finish}", 200)
    if finish is None or tokens is None:
        return dropped("truncated", 200)
    right = tokens == asked if exact or finish == "length" else 0 < tokens <= asked
    if not right or answer.chunks > tokens:
        return dropped("wrong_token_count", 200)
    return Outcome(Kind.COMPLETE, status=200)


def of_refusal(status: int, body: str) -> Outcome:
    """The outcome of an answer with another status than 200. Only the server's own words make a 503 a rejection."""
    try:
        words = message_of(json.loads(body))
    except ValueError:
        words = " ".join(body.split())
    if status == 503 and BUSY in words:
        return Outcome(Kind.REJECTED, "busy", status, words)
    return dropped(f"http_{status}", status, words)


def of_failure(error: Exception) -> Outcome:
    """The outcome of a request whose connection failed."""
    return dropped(_reason(error), words=f"{type(error).__name__}: {error}")


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "name_resolution"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "connection_closed"
    if isinstance(error, aiohttp.ClientPayloadError):  # the client library has the cause in its text only
        return "connection_reset" if "ConnectionResetError" in str(error) else "truncated"
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return "connection_reset"
    if isinstance(error, OSError):
        return _of_errno(error.errno)
    return "bad_response"


def _of_errno(number: int | None) -> str:
    if number in _CLIENT_ERRNOS:
        return CLIENT_LIMIT
    names = {errno.ECONNREFUSED: "connection_refused", errno.ECONNRESET: "connection_reset"}
    return names.get(number or 0, "connection_failed")
