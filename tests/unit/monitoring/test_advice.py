"""Bigger GPU or more pods: each corner of the plane, its borders, and the figure's words."""

from __future__ import annotations

import math
from typing import Any

import pytest

from vllm_runbook.advice import BIGGER_GPU, BOTH, FINE, MORE_PODS, Limits, Point, advise
from vllm_runbook.plots import alt_text, plane_figure

LIMITS = Limits(waiting=5, cache=0.9, preemptions=6)


def point(**changes: Any) -> Point:
    calm = {
        "name": "llm",
        "waiting": 0.0,
        "cache": 0.2,
        "preemptions": 0.0,
        "cache_tokens": 400_000.0,
        "longest": 16384,
    }
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
        ({"cache_tokens": 10_000.0, "waiting": 40.0}, BIGGER_GPU, "16,384 tokens doesn't fit into a cache of 10,000"),
        ({"waiting": 4.9, "cache": 0.89}, FINE, "4.9 requests wait"),
        ({"cache_tokens": math.inf}, FINE, "0 requests wait"),
    ],
)
def test_what_is_advised(changes: dict[str, Any], what: str, words: str) -> None:
    found = advise(point(**changes), LIMITS)
    assert found.what == what and words in found.why


def test_without_thresholds_nothing_is_ever_too_much() -> None:
    assert advise(point(waiting=1e6, cache=0.99), Limits(math.inf, 1, math.inf)).what == FINE


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
