"""The figure of an experiment."""

from __future__ import annotations

import itertools
import json

import pytest

from vllm_runbook.plots import Story, alt_text, decision_figure, story_figure

SAMPLES = [
    {"second": n, "sent": 50, "complete": 16, "dropped": 34 * (n > 3), "rejected": 0, "in_flight": 34 * n, "more": 1}
    for n in range(1, 11)
]
NAIVE = Story(
    "naive", SAMPLES, [(-1.0, 1), (4.0, 0)], [(0.0, 0.0), (4.0, 99.0)], [(4.0, "OOMKilled"), (8.0, "OOMKilled")]
)
OURS = Story("ours", [{**sample, "dropped": 0} for sample in SAMPLES], [(-1.0, 1), (5.0, 4)])


def test_four_panels_share_one_time_axis() -> None:
    fig = story_figure([NAIVE], "A burst")
    assert {trace.yaxis for trace in fig.data} == {"y", "y2", "y3", "y4"}
    domains = [fig.layout[name].domain for name in ("yaxis", "yaxis2", "yaxis3", "yaxis4")]
    assert domains[0][1] == 1 and domains[-1][0] == 0
    assert all(upper[0] > lower[1] for upper, lower in itertools.pairwise(domains))
    assert fig.layout.xaxis.anchor == "y4"


def test_two_stories_are_told_apart_without_colours() -> None:
    fig = story_figure([NAIVE, OURS], "Both")
    dashes = {trace.name.split(":")[0]: trace.line.dash for trace in fig.data if trace.name.endswith("in flight")}
    assert dashes["naive"] != dashes["ours"]
    legend = [trace.name for trace in fig.data if trace.showlegend is not False]
    assert legend == ["naive", "ours"]
    words = alt_text(fig)
    assert "naive: 500 sent, 160 complete, 238 dropped" in words and "ours: 500 sent, 160 complete, 0 dropped" in words


def test_replicas_are_drawn_from_the_beginning_to_the_end() -> None:
    (ready,) = (trace for trace in story_figure([OURS], "x").data if trace.name == "ready")
    assert list(zip(ready.x, ready.y, strict=True)) == [(0.0, 1), (5.0, 4), (11.0, 4)]


def test_the_same_mark_is_named_once_and_drawn_each_time() -> None:
    layout = story_figure([NAIVE], "x").layout
    assert [note.text for note in layout.annotations] == ["OOMKilled"]
    assert [shape.x0 for shape in layout.shapes] == [4.0, 8.0]


def test_an_empty_story_can_be_drawn() -> None:
    assert "0 sent" in alt_text(story_figure([Story("x")], "Nothing yet"))


def test_a_story_survives_json() -> None:
    again = Story.of(json.loads(json.dumps(NAIVE.plain())))
    assert again.plain() == NAIVE.plain()
    assert "more" not in again.samples[0]


def test_decisions_are_steps_with_the_present_marked() -> None:
    fig = decision_figure({"queue": lambda value: min(10, max(1, -(-int(value) // 5)))}, 100, {"queue": 12})
    line, mark = fig.data
    assert line.line.shape == "hv" and max(line.y) == 10
    assert (mark.x[0], mark.y[0]) == (12, 3)
    assert "queue: 5 at 25, 10 at 50, 10 at 100" in alt_text(fig)


@pytest.mark.parametrize("count", [1, 2])
def test_figures_are_small_enough_to_keep(count: int) -> None:
    assert len(story_figure([NAIVE, OURS][:count], "x").to_json()) < 50_000


def test_lives_of_nodes_are_a_fifth_panel() -> None:
    lives = [("spot-1", "Ready", 0.0, 6.0), ("spot-1", "Draining", 6.0, 9.0), ("spot-2", "Joining", 7.0, 10.0)]
    fig = story_figure([NAIVE, Story("ours", SAMPLES, nodes=lives)], "A node goes")
    panel = {trace.name: [each for each in trace.y if each] for trace in fig.data if trace.yaxis == "y5"}
    assert panel["node draining"] == ["spot-1", "spot-1"] and panel["node joining"] == ["spot-2", "spot-2"]
    assert fig.layout.xaxis.anchor == "y5"
    assert "node spot-1: ready from 0 s, draining from 6 s" in alt_text(fig)
