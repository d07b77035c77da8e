"""Refusals, retries, and percentiles."""

from __future__ import annotations

import errno
import random
import statistics

import aiohttp
import pytest
from scripted import BUSY_BODY

from vllm_runbook.load.answer import AnswerStream
from vllm_runbook.load.client import Attempt, Timing
from vllm_runbook.load.outcomes import Kind, Outcome, dropped, of_failure, of_refusal
from vllm_runbook.load.retry import RetryPolicy
from vllm_runbook.load.statistics import percentile, summary


def test_only_the_servers_own_words_make_a_503_a_rejection() -> None:
    own = of_refusal(503, BUSY_BODY.decode())
    assert (own.kind, own.reason, own.status) == (Kind.REJECTED, "busy", 503)
    for status, body in (
        (503, "no healthy upstream"),
        (503, "sandbox proxy: Service llm/inference has no ready endpoints\n"),
        (502, BUSY_BODY.decode()),
        (503, ""),
        (500, '{"error":{"message":"EngineCore encountered an issue."}}'),
        (504, "<html>"),
        (302, ""),
    ):
        assert of_refusal(status, body).kind is Kind.DROPPED
        assert of_refusal(status, body).reason == f"http_{status}"


@pytest.mark.parametrize(("status", "refuses"), [(400, True), (401, True), (404, True), (408, False), (429, False)])
def test_which_answers_say_that_the_request_is_wrong(status: int, refuses: bool) -> None:
    assert of_refusal(status, "{}").refuses_arguments is refuses


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TimeoutError(), "timeout"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), "connection_refused"),
        (aiohttp.ClientOSError(errno.ECONNRESET, "x"), "connection_reset"),
        (aiohttp.ClientConnectionResetError("Cannot write to closing transport"), "connection_reset"),
        (aiohttp.ClientOSError(errno.EHOSTUNREACH, "x"), "connection_failed"),
        (aiohttp.ClientOSError(errno.EMFILE, "x"), "client_limit"),
        (aiohttp.ServerDisconnectedError(), "connection_closed"),
        (aiohttp.ClientError("odd"), "bad_response"),
    ],
)
def test_failures_have_names(error: Exception, reason: str) -> None:
    assert of_failure(error).kind is Kind.DROPPED
    assert of_failure(error).reason == reason


def attempt(outcome: Outcome, chunks: int = 0) -> Attempt:
    answer = AnswerStream()
    answer.chunks = chunks
    return Attempt(outcome, answer, Timing(0.0))


def test_what_is_tried_again() -> None:
    policy = RetryPolicy(retries=2)
    early = (
        dropped("connection_refused"),
        dropped("http_500", 500),
        dropped("busy_event", 200),
        dropped("aborted", 200),
    )
    for outcome in (*early, Outcome(Kind.REJECTED, "busy", 503), dropped("http_429", 429)):
        assert policy.again(attempt(outcome), 0) and policy.again(attempt(outcome), 1)
        assert not policy.again(attempt(outcome), 2)
        assert not RetryPolicy().again(attempt(outcome), 0)
    for outcome in (Outcome(Kind.COMPLETE, status=200), dropped("http_404", 404), dropped("timeout")):
        assert not policy.again(attempt(outcome), 0)


def test_what_was_cut_is_tried_again_only_when_told_to() -> None:
    cut = attempt(dropped("aborted", 200), chunks=5)
    assert not RetryPolicy(retries=2).again(cut, 0)
    assert RetryPolicy(retries=2, cut=True).again(cut, 0)


def test_pauses_double_up_to_a_limit() -> None:
    policy, source = RetryPolicy(retries=9), random.Random(1)
    for retried, longest in enumerate((0.5, 1, 2, 4, 8, 8, 8)):
        pauses = [policy.pause(retried, source) for _ in range(200)]
        assert longest * 0.75 <= min(pauses) < longest * 0.8 and longest * 0.95 < max(pauses) <= longest


def test_percentiles_are_linear_between_values() -> None:
    assert percentile([], 50) is None
    assert percentile([3.0], 99) == 3.0
    values = [random.Random(2).expovariate(1) for _ in range(997)]
    inclusive = statistics.quantiles(values, n=100, method="inclusive")
    for percent in (50, 90, 99):
        assert percentile(sorted(values), percent) == pytest.approx(inclusive[percent - 1])


def test_a_summary() -> None:
    assert summary([]) == {"mean": None, "p50": None, "p90": None, "p99": None, "max": None}
    assert summary([4.0, 1.0, 2.0, 3.0]) == {"mean": 2.5, "p50": 2.5, "p90": 3.7, "p99": 3.97, "max": 4.0}
