"""What the autoscaler is told, and what it would want."""

from __future__ import annotations

import pytest

from vllm_runbook import params
from vllm_runbook.steps.autoscaling import POLICIES, Policy, policy

TEN = Policy("concurrency", "q", threshold=16, min_replicas=1, max_replicas=10)


@pytest.mark.parametrize(("value", "wanted"), [(0, 1), (1, 1), (16, 1), (17, 2), (160, 10), (161, 10), (10_000, 10)])
def test_replicas_are_the_sum_divided_by_the_target(value: float, wanted: int) -> None:
    assert TEN.wanted(value, 0) == wanted


@pytest.mark.parametrize(("value", "wanted"), [(32 * 1.09, 2), (32 * 1.12, 3), (32 * 0.9, 2), (32 * 0.5, 1)])
def test_close_to_the_target_nothing_moves(value: float, wanted: int) -> None:
    assert TEN.wanted(value, 2) == wanted


def test_both_policies_sum_over_the_namespace_and_have_one_series() -> None:
    loaded = params.load("sandbox", "qwen3-8b", {"namespace": "models"})
    for name in POLICIES:
        query = policy(loaded, name).query
        assert query.count("sum(") == query.count('{namespace="models"}') == query.count("vllm:num_requests")
    assert "num_requests_running" not in policy(loaded, "queue").query
    assert policy(loaded).name == "concurrency"


def test_at_zero_replicas_no_series_counts_as_no_load() -> None:
    loaded = params.load("sandbox", "qwen3-8b", {"autoscaling.min_replicas": 0})
    assert policy(loaded).query.endswith("or vector(0)")
    assert "vector" not in policy(params.load("sandbox", "qwen3-8b")).query
