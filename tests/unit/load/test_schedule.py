"""Arrivals and prompts are known beforehand."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from vllm_runbook.load.prompts import prompt
from vllm_runbook.load.schedule import Schedule


@pytest.mark.parametrize(
    ("rate", "seconds", "times"),
    [
        (2, 2, [0, 0.5, 1.0, 1.5]),
        (0.5, 5, [0, 2, 4]),
        (0.1, 30, [0, 10, 20]),
        (10, 0.05, [0]),
    ],
)
def test_fixed_arrivals(rate: float, seconds: float, times: list[float]) -> None:
    assert Schedule("fixed", rate, seconds).times() == pytest.approx(times)


def test_poisson_arrivals_have_the_rate_as_mean_and_exponential_gaps() -> None:
    times = Schedule("poisson", 50, 400, seed=7).times()
    assert times == sorted(times) and times[0] > 0 and times[-1] < 400
    assert len(times) == pytest.approx(20_000, rel=0.03)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert sum(gap > 1 / 50 for gap in gaps) / len(gaps) == pytest.approx(1 / math.e, abs=0.02)


def test_the_seed_decides() -> None:
    assert Schedule("poisson", 5, 60, seed=1).times() == Schedule("poisson", 5, 60, seed=1).times()
    assert Schedule("poisson", 5, 60, seed=1).times() != Schedule("poisson", 5, 60, seed=2).times()
    assert Schedule("fixed", 5, 60, seed=1).times() == Schedule("fixed", 5, 60, seed=2).times()


def test_prompts_differ_from_their_beginning_and_repeat_by_number() -> None:
    prompts = [prompt(number, 128) for number in range(500)]
    assert prompts == [prompt(number, 128) for number in range(500)]
    assert {len(text.split()) for text in prompts} == {128}
    beginnings = {" ".join(text.split()[:16]) for text in prompts}  # a block of the server's prefix cache
    assert len(beginnings) == 500
    assert prompt(0, 128, seed=1) != prompts[0]
