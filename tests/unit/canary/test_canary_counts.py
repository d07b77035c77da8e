"""Counters of both versions between two moments: restarts, new series, other handlers."""

from __future__ import annotations

from datetime import UTC, datetime

from vllm_runbook.prometheus import Series
from vllm_runbook.steps.canary_counts import CANARY, STABLE, Reading

NEW, OLD = "vllm-canary-5d9c-x1", "vllm-inference-7f4b-y1"
CHAT = "/v1/chat/completions"


def series(name: str, pod: str, value: float, **labels: str) -> Series:
    return Series({"__name__": name, "pod": pod, "namespace": "llm", **labels}, ((datetime.now(UTC), value),))


def http(pod: str, value: float, status: str = "2xx", handler: str = CHAT) -> Series:
    return series("http_requests_total", pod, value, status=status, handler=handler)


def ended(pod: str, value: float, reason: str) -> Series:
    return series("vllm:request_success_total", pod, value, finished_reason=reason)


def rejected(pod: str, value: float, reason: str = "max_num_queued_reqs") -> Series:
    return series("vllm:admission_rejections_total", pod, value, reason=reason)


def bucket(pod: str, value: float, le: str) -> Series:
    return series("vllm:time_to_first_token_seconds_bucket", pod, value, le=le)


def test_each_version_has_its_own_counts() -> None:
    before = Reading.of([http(OLD, 100), ended(OLD, 90, "stop")])
    requests = [http(OLD, 150), http(NEW, 7), http(NEW, 2, "5xx"), http(NEW, 1, "4xx")]
    others = [http(NEW, 50, handler="/v1/models"), ended(NEW, 3, "abort"), ended(NEW, 1, "error")]
    now = Reading.of([*requests, *others, ended(OLD, 140, "stop")])
    ours = now.since(before, CANARY)
    assert (ours.requests, ours.errors, ours.refused, ours.broken) == (10, 3, 1, 3)
    theirs = now.since(before, STABLE)
    assert (theirs.requests, theirs.errors, theirs.broken) == (50, 0, 0)


def test_a_counter_that_began_anew_counts_from_zero() -> None:
    before, now = Reading.of([http(NEW, 40)]), Reading.of([http(NEW, 3)])
    assert now.since(before, CANARY).requests == 3


def test_a_server_that_is_gone_takes_nothing_away() -> None:
    before = Reading.of([http(OLD, 100), http(OLD + "2", 70)])
    now = Reading.of([http(OLD, 110)])
    assert now.since(before, STABLE).requests == 10


def test_buckets_of_all_replicas_are_summed_in_order() -> None:
    found = Reading.of(
        [bucket(NEW, 2, "0.5"), bucket(NEW, 1, "0.1"), bucket(NEW, 2, "+Inf"), bucket(NEW + "2", 4, "+Inf")]
    )
    assert found.since(Reading.of([]), CANARY).ttft == ((0.1, 1.0), (0.5, 2.0), (float("inf"), 6.0))


def test_streams_that_the_admission_limit_refuses_are_refused_requests() -> None:
    """Recorded: a stream gets status 200 and an event, anything else 503; both are in the limit's own counter."""
    streams = Reading.of([http(NEW, 12), rejected(NEW, 7), rejected(NEW, 1, "max_num_queued_tokens")])
    found = streams.since(Reading.of([]), CANARY)
    assert (found.requests, found.errors, found.refused) == (12, 0, 8)
    plain = Reading.of([http(NEW, 4), http(NEW, 8, "5xx"), rejected(NEW, 8)]).since(Reading.of([]), CANARY)
    assert (plain.requests, plain.errors, plain.refused) == (12, 8, 0), "counted once"
    both = Reading.of([http(NEW, 4), http(NEW, 3, "5xx"), http(NEW, 2, "4xx"), rejected(NEW, 5)])
    assert both.since(Reading.of([]), CANARY).refused == 2 + 2


def test_one_servers_errors_hide_none_of_anothers_refusals() -> None:
    now = Reading.of([http(NEW, 5, "5xx"), rejected(NEW, 0), http(NEW + "2", 9), rejected(NEW + "2", 5)])
    found = now.since(Reading.of([]), CANARY)
    assert (found.errors, found.refused) == (5, 5)


def test_what_each_server_is_doing() -> None:
    gauges = [series("vllm:num_requests_running", NEW, 3), series("vllm:num_requests_waiting", NEW, 1)]
    done = [series("vllm:generation_tokens_total", NEW, 40), ended(NEW, 2, "stop"), http(NEW, 2)]
    other = [series("vllm:num_requests_running", NEW + "2", 0), series("vllm:num_requests_running", OLD, 9)]
    assert Reading.of([*gauges, *done, *other]).activity(CANARY) == {NEW: (4, 42), NEW + "2": (0, 0)}
