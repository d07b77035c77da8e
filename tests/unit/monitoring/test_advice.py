"""Bigger GPU or more pods: each corner of the plane, its borders, the worst of some moments, and the figure's words."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from vllm_runbook.advice import BIGGER_GPU, BOTH, FINE, MORE_PODS, Limits, Point, advise, worst
from vllm_runbook.plots import alt_text, plane_figure

LIMITS = Limits(waiting=5, cache=0.9, preemptions=6)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def point(**changes: Any) -> Point:
    calm = {"name": "llm", "at": NOON, "waiting": 0.0, "cache": 0.2, "preemptions": 0.0}
    return Point(**{**calm, **changes})


@pytest.mark.parametrize(
    ("changes", "what", "words"),
    [
        ({}, FINE, "0 requests wait"),
        ({"cache": 0.95}, FINE, "no reserve"),
        ({"waiting": 40.0}, MORE_PODS, "80% of the cache is empty"),
        ({"waiting": 5.0, "cache": 0.8}, MORE_PODS, "look again"),
        ({"waiting": 40.0, "cache": 0.97}, BOTH, "because 97% of the cache is taken"),
        ({"preemptions": 30.0, "cache": 1.0}, BIGGER_GPU, "30 preemptions a minute"),
        ({"preemptions": 30.0, "waiting": 9.0}, BOTH, "30 preemptions a minute"),
        ({"waiting": 4.9, "cache": 0.89}, FINE, "4.9 requests wait"),
    ],
)
def test_what_is_advised(changes: dict[str, Any], what: str, words: str) -> None:
    found = advise(point(**changes), LIMITS)
    assert found.what == what and words in found.why


def test_without_thresholds_nothing_is_ever_too_much() -> None:
    assert advise(point(waiting=1e6, cache=0.99), Limits(math.inf, 1, math.inf)).what == FINE


def test_a_queue_and_a_full_cache_of_different_moments_do_not_add_up() -> None:
    queue, full = point(waiting=40.0), point(at=NOON + timedelta(minutes=20), cache=0.97)
    assert worst([queue, full], LIMITS) is queue and advise(queue, LIMITS).what == MORE_PODS
    assert advise(point(waiting=40.0, cache=0.97), LIMITS).what == BOTH, "at once they would"


#: From the best moment to the worst.
RANKED = (
    point(),
    point(waiting=4.0, cache=0.1),
    point(waiting=4.0),
    point(cache=0.95),
    point(waiting=3.0, cache=0.95),
    point(waiting=40.0, cache=0.3),
    point(waiting=41.0, cache=0.1),
    point(preemptions=60.0, cache=0.8),
    point(preemptions=30.0, cache=1.0),
    point(preemptions=60.0, cache=1.0),
    point(preemptions=60.0, waiting=6.0, cache=0.8),
    point(waiting=6.0, cache=0.95),
    point(waiting=60.0, cache=0.95),
    point(waiting=60.0, cache=0.97),
    point(waiting=60.0, cache=0.97, preemptions=90.0),
)


@pytest.mark.parametrize("place", range(1, len(RANKED)))
def test_each_moment_is_worse_than_the_one_before(place: int) -> None:
    better, worse = RANKED[place - 1], RANKED[place]
    assert worst([better, worse], LIMITS) is worse and worst([worse, better], LIMITS) is worse


def test_of_equals_the_first_counts() -> None:
    first, later = point(waiting=9.0), point(waiting=9.0, at=NOON + timedelta(seconds=5))
    assert worst([first, later], LIMITS) is first


def test_without_thresholds_the_fullest_cache_is_the_worst() -> None:
    assert worst([point(waiting=90.0), point(cache=0.8)], Limits(math.inf, 1, math.inf)).cache == 0.8


def test_the_plane_has_its_borders_and_the_points_in_it() -> None:
    fig = plane_figure([("llm", 1.0, 0.2, FINE), ("naive", 300.0, 0.4, MORE_PODS)], 5, 0.9, 0.675)
    assert fig.layout.xaxis.range[1] ** 2 > 300 and {trace.name for trace in fig.data} == {"llm", "naive"}
    borders = {(round(shape.x0**2), shape.y0, shape.y1) for shape in fig.layout.shapes}
    assert (5, 0.0, 0.675) in borders and (5, 0.9, 1.0) in borders and (0.0, 0.9, 1.0) in borders
    assert "naive: 300 waiting, 40% of the cache: more pods" in alt_text(fig)
    assert "Nothing measured" in alt_text(plane_figure([], 5, 0.9, 0.675))


def test_without_a_limit_the_plane_can_still_be_drawn() -> None:
    fig = plane_figure([("llm", 1.0, 0.2, FINE)], math.inf, 1.0, 0.75)
    assert math.isfinite(fig.layout.xaxis.range[1])
