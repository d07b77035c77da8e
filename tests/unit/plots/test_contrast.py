"""Contrast by WCAG 2.2, computed: what is drawn can be seen on white and on dark ground, without colours too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import resources

import plotly.graph_objects as go
import pytest

from vllm_runbook import params, plots, sizing
from vllm_runbook.plots import theme
from vllm_runbook.plots.timeline import NODE_PHASES, PHASES

LIGHT, LAB_DARK, REPORT_DARK = "#FFFFFF", "#111111", "#12161C"
OKABE_ITO = {"#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"}


def luminance(colour: str) -> float:
    """Relative luminance of a #RRGGBB colour, as WCAG defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def figures() -> Iterator[go.Figure]:
    """One of each kind, with everything that it can show."""
    zero = datetime(2026, 1, 1, tzinfo=UTC)
    yield plots.memory_figure(sizing.size(params.load("sandbox", "qwen3-8b")))
    yield plots.decision_figure(
        {"queue": round, "concurrency": lambda value: int(value / 2), "x": int}, 10, {"queue": 3}
    )
    node = {
        "metadata": {"name": "a"},
        "status": {"capacity": {plots.nodes.GPU: 4}, "allocatable": {plots.nodes.GPU: 3}},
    }
    yield plots.nodes_figure([node], [])
    progress = plots.PrefetchProgress({"a": 10, "b": 10})
    progress.record(zero, {"a": 10, "b": 5})
    yield progress.figure()
    yield plots.timed_figure([plots.Timed("kubectl", "whole", 10), plots.Timed("library", "paged", 5)], "Lists")
    yield plots.workloads_figure([("a", phase) for phase in PHASES])
    lives = [(f"node-{at}", phase, 0.0, 5.0) for at, phase in enumerate(NODE_PHASES)]
    sample = {"second": 1, "sent": 1, "complete": 1, "dropped": 1, "rejected": 1, "in_flight": 1}
    one = plots.Story("one", [sample], ready=[(0, 1)], waiting=[(1, 2)], marks=[(2, "a drain")], nodes=lives)
    yield plots.story_figure([one, plots.Story("two", [sample], ready=[(0, 1)])], "Two designs")
    timeline = plots.PodTimeline()
    status = {"phase": "Running", "containerStatuses": [{"restartCount": 1, "lastState": {}}]}
    for second in range(2):
        pod = {"metadata": {"name": "p"}, "spec": {"nodeName": "n"}, "status": status}
        timeline.record(zero + timedelta(seconds=second), pod)
    yield timeline.figure()


def test_the_computation_knows_the_standard_s_examples() -> None:
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.01)


def test_colours_are_okabe_and_ito_s_and_a_grey() -> None:
    assert {colour for colour in theme.AREAS if colour != theme.GREY} == OKABE_ITO


@pytest.mark.parametrize("ground", [LIGHT, LAB_DARK, REPORT_DARK])
def test_lines_and_edges_have_three_to_one(ground: str) -> None:
    for colour in (*theme.LINES, theme.EDGE):
        assert contrast(colour, ground) >= 3, colour


def test_text_has_what_one_colour_can_have() -> None:
    assert contrast(theme.TEXT, LIGHT) >= 4.5
    assert contrast(theme.TEXT, LAB_DARK) >= 4


def test_every_figure_keeps_to_it() -> None:
    allowed = {*theme.LINES, theme.EDGE, theme.TEXT}
    for fig in figures():
        title = fig.layout.title.text
        assert fig.layout.template.layout.paper_bgcolor == "rgba(0,0,0,0)", title
        assert fig.layout.template.data.bar[0].marker.line.color == theme.EDGE, title
        edged = {
            tuple(trace.x or ()) for trace in fig.data if trace.type == "scatter" and trace.line.color == theme.EDGE
        }
        for trace in fig.data:
            if trace.type == "bar":
                assert trace.marker.line.color is None and trace.marker.line.width is None, title  # the template's
            elif tuple(trace.x or ()) not in edged and trace.x is not None:
                assert {trace.line.color, trace.marker.color} - {None} <= allowed, (title, trace.name)
        for shape in fig.layout.shapes:
            assert shape.line.color in allowed, title
        for note in fig.layout.annotations:
            assert note.font.color is None, f"{title}: {note.text} must follow the ground's colour"


def test_every_figure_is_described_with_axes_and_values() -> None:
    for fig in figures():
        words = plots.description(fig.to_plotly_json())
        assert re.match(r"(Bar|Line)[\w ]+chart\. ", words), words
        assert plots.alt_text(fig) in words and re.search(r"\d", words), words
        assert "orizontal ax" in words or "ertical ax" in words, words
        assert "<" not in words, words


def test_the_report_s_colours_have_four_and_a_half_to_one() -> None:
    page = resources.files("vllm_runbook.runner").joinpath("report.html.txt").read_text()
    light, dark = re.findall(r":root \{(.*?)\}", page, re.DOTALL)[:2]
    for block in (light, dark):
        named = dict(re.findall(r"--(\w+): (#[0-9a-fA-F]{6})", block))
        for name in ("text", "soft", "good", "bad", "wait", "link"):
            for ground in ("ground", "raised"):
                assert contrast(named[name], named[ground]) >= 4.5, (name, named[name], named[ground])
