"""Shares of a weighted route are exact, and spread evenly."""

from __future__ import annotations

from collections import Counter

import pytest

from vllm_sandbox.gateway.shares import Shares


@pytest.mark.parametrize("weights", [(95, 5), (75, 25), (50, 50), (1, 2, 4), (100, 0), (7, 3, 90)])
def test_after_a_round_everyone_had_exactly_its_share(weights: tuple[int, ...]) -> None:
    turns = Shares(list(enumerate(weights)))
    rounds = 3
    taken = Counter(turns.take() for _ in range(sum(weights) * rounds))
    assert taken == Counter({name: weight * rounds for name, weight in enumerate(weights) if weight})


@pytest.mark.parametrize("percent", [1, 5, 25, 50])
def test_at_any_moment_the_share_is_right_but_for_rounding(percent: int) -> None:
    turns = Shares([("stable", 100 - percent), ("canary", percent)])
    canary = 0
    for sent in range(1, 501):
        canary += turns.take() == "canary"
        assert abs(canary - sent * percent / 100) < 1, sent


def test_nobody_with_a_weight_nobody_chosen() -> None:
    assert Shares([("stable", 0)]).take() is None
    assert Shares([]).take() is None
