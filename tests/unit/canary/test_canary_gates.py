"""What is concluded from a step's counts, and the numbers that are said with it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from vllm_runbook.params.canary import Gates
from vllm_runbook.steps.canary_gates import FAIL, PASS, WAIT, Decision, Pulse, Window, judge

GATES = Gates(min_requests=20, max_error_rate=0.1, max_broken_rate=0.0, ttft_p95_ratio=1.5, ttft_p95_slack_seconds=0.1)
BOUNDS = (0.1, 0.25, 0.5, 1.0, math.inf)


def ttft(*counts: int) -> tuple[tuple[float, float], ...]:
    """Answers per bucket, as the cumulative counts that a histogram has."""
    return tuple((bound, float(sum(counts[: n + 1]))) for n, bound in enumerate(BOUNDS))


def window(requests: int = 20, latencies: tuple[int, ...] = (), **more: Any) -> Window:
    return Window(requests, ttft=ttft(*(latencies or (requests,))), **more)


STABLE = window(400)


def verdicts(decision: Decision) -> dict[str, str]:
    return {each.gate: each.verdict for each in decision.findings}


def test_a_version_like_the_stable_one_passes() -> None:
    decision = judge(GATES, window(), STABLE)
    assert decision.verdict == PASS and set(verdicts(decision).values()) == {PASS} and decision.why == ""


def test_nothing_is_concluded_from_too_few() -> None:
    decision = judge(GATES, window(19), STABLE)
    assert decision.verdict == WAIT and "requests 19 (at least 20)" in decision.why


@pytest.mark.parametrize(("errors", "requests", "verdict"), [(2, 20, PASS), (3, 20, FAIL), (2, 5, WAIT), (3, 5, FAIL)])
def test_errors_fail_as_soon_as_the_rest_of_the_sample_can_not_mend_it(
    errors: int, requests: int, verdict: str
) -> None:
    decision = judge(GATES, window(requests, errors=errors), STABLE)
    assert verdicts(decision)["server errors"] == verdict
    if verdict == FAIL:
        assert f"server errors {errors} of {requests}" in decision.why and "at most 10.0%" in decision.why


def test_one_broken_answer_is_too_many_where_none_may_be() -> None:
    assert judge(GATES, window(3, broken=1), STABLE).verdict == FAIL


def test_refusals_count_beyond_the_stable_versions_own() -> None:
    half = window(400, refused=200)
    assert judge(GATES, window(100, refused=55), half).verdict == PASS
    assert judge(GATES, window(100, refused=65), half).verdict == FAIL


def test_slower_than_the_ratio_and_the_slack_allow() -> None:
    quick = window(20, (20,))
    assert judge(GATES, quick, STABLE).verdict == PASS
    slow = window(20, (0, 0, 0, 20))
    decision = judge(GATES, slow, STABLE)
    assert verdicts(decision)["TTFT p95"] == FAIL
    assert decision.why == "TTFT p95 0.97 s (at most 0.24 s)"


def test_answers_without_a_first_token_yet_are_waited_for() -> None:
    assert verdicts(judge(GATES, window(20, (5,)), STABLE))["TTFT p95"] == WAIT


def test_without_a_stable_version_to_compare_with_it_waits() -> None:
    assert judge(GATES, window(), Window()).verdict == WAIT


def test_a_restart_fails_at_once() -> None:
    assert judge(GATES, window(0), STABLE, Pulse(restarts=1)).verdict == FAIL


def test_standing_still_for_too_long_fails_at_once() -> None:
    gates = GATES.model_copy(update={"stall_seconds": 30})
    assert judge(gates, window(), STABLE, Pulse(stalled=29, missing=29)).verdict == PASS
    decision = judge(gates, window(0), STABLE, Pulse(stalled=31))
    assert decision.why == "no token with requests under way for 31 s (less than 30 s)"
    assert judge(gates, window(0), STABLE, Pulse(missing=30)).why == "replicas not ready for 30 s (less than 30 s)"


@pytest.mark.parametrize(
    ("counts", "value"),
    [((100,), 0.095), ((0, 100), 0.2425), ((90, 0, 10), 0.375), ((0, 0, 0, 0, 10), 1.0), ((), None)],
)
def test_quantiles_are_promqls(counts: tuple[int, ...], value: float | None) -> None:
    found = Window(ttft=ttft(*counts) if counts else ()).quantile(0.95)
    assert found == (None if value is None else pytest.approx(value))
