"""What happened under load: rate, queue, replicas and losses on one time axis, for one design or for two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import plotly.graph_objects as go

from . import theme
from .timeline import NODE_PHASES

#: One colour and dash per story, so that two are told apart without colours too.
_STYLES = ((theme.VERMILION, "solid"), (theme.BLUE, "dash"), (theme.GREEN, "dot"))
#: Panels, and what is drawn thinner (lines) or hatched (bars) in them.
_PANELS = {
    "requests<br>per second": "dotted: sent",
    "requests<br>in the system": "dotted: waiting",
    "ready replicas": "",
    "lost<br>per second": "hatched: rejected",
}
_GAP = 0.05


@dataclass(frozen=True)
class Story:
    """One experiment in numbers. Times are seconds since the load began.

    Attributes:
        samples: of the load generator, one per second.
        ready: (time, ready pods) at each change.
        waiting: (time, requests in the servers' queues), from Prometheus; may be empty.
        marks: (time, what happened).
        nodes: (node, phase, from, to): the lives of nodes that come and go.
    """

    name: str
    samples: list[dict[str, Any]] = field(default_factory=list)
    ready: list[tuple[float, int]] = field(default_factory=list)
    waiting: list[tuple[float, float]] = field(default_factory=list)
    marks: list[tuple[float, str]] = field(default_factory=list)
    nodes: list[tuple[str, str, float, float]] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """As JSON wants it, with only what is drawn."""
        wanted = ("second", "sent", "complete", "dropped", "rejected", "in_flight")
        samples = [{name: sample[name] for name in wanted} for sample in self.samples]
        return {**asdict(self), "samples": samples}

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Self:
        """The other way."""
        pairs = {name: [tuple(pair) for pair in plain.get(name, ())] for name in ("ready", "waiting", "marks", "nodes")}
        return cls(name=plain["name"], samples=plain["samples"], **pairs)

    def total(self, name: str) -> int:
        return sum(int(sample[name]) for sample in self.samples)

    @property
    def end(self) -> float:
        """Seconds that are drawn."""
        return max([10.0, *(float(sample["second"]) + 1 for sample in self.samples)])


def story_figure(stories: Sequence[Story], title: str) -> go.Figure:
    """Four panels over one time axis; where there are two stories, both are in each. Lives of nodes are a fifth."""
    traces: list[Any] = []
    for story, (colour, dash) in zip(stories, _STYLES, strict=False):
        traces += _traces(story, colour, dash, several=len(stories) > 1)
    end = max(story.end for story in stories)
    lives = next((story.nodes for story in stories if story.nodes), [])
    panels = _PANELS | ({"nodes": ""} if lives else {})
    traces += _node_traces(lives, f"y{len(panels)}")
    layout: dict[str, Any] = {"height": 190 * len(panels), "barmode": "group", "hovermode": "x unified"}
    height = (1 - _GAP * (len(panels) - 1)) / len(panels)
    for index, (name, more) in enumerate(panels.items()):
        top = 1 - index * (height + _GAP)
        suffix = "" if index == 0 else str(index + 1)
        layout[f"yaxis{suffix}"] = {
            "domain": [max(0.0, top - height), top],
            "title": {"text": f"{name}<br><i>{more}</i>" if more else name, "font": {"size": 12}},
            "rangemode": "tozero",
        }
    last = f"y{len(panels)}"
    if lives:
        layout[f"yaxis{len(panels)}"] |= {"type": "category", "autorange": "reversed"}
        layout["margin"] = {"l": 60, "r": 20, "t": 130, "b": 60}  # the legend has two lines then
    layout["xaxis"] = {"title": {"text": "time since the load began (s)"}, "range": [-1, end], "anchor": last}
    layout["shapes"], layout["annotations"] = _marks(stories, end)
    return theme.figure(title, "", "", _words(stories, title), traces, **layout)


def _traces(story: Story, colour: str, dash: str, *, several: bool) -> list[Any]:
    seconds = [sample["second"] for sample in story.samples]
    prefix = f"{story.name}: " if several else ""
    # with several stories the legend has one entry for each
    shown: dict[str, Any] = {"legendgroup": story.name, "showlegend": False} if several else {}

    def line(name: str, panel: int, x: Sequence[float], y: Sequence[float], **style: Any) -> go.Scatter:
        drawn = {"color": colour, "dash": dash, **style}
        axis = "y" if panel == 1 else f"y{panel}"
        return go.Scatter(name=prefix + name, x=list(x), y=list(y), yaxis=axis, mode="lines", line=drawn, **shown)

    def of(name: str) -> list[int]:
        return [sample[name] for sample in story.samples]

    steps = _steps(story.ready, story.end)
    found: list[Any] = [
        line("sent", 1, seconds, of("sent"), width=1, dash="dot"),
        line("complete", 1, seconds, of("complete")),
        line("in flight", 2, seconds, of("in_flight")),
        line("ready", 3, [at for at, _ in steps], [count for _, count in steps], shape="hv"),
    ]
    if story.waiting:
        times, values = zip(*story.waiting, strict=True)
        found.append(line("waiting", 2, times, values, width=1, dash="dot"))
    for name, pattern in (("dropped", ""), ("rejected", "/")):
        if several or story.total(name) or name == "dropped":
            marker = {"color": colour, "pattern": {"shape": pattern, "solidity": 0.4}}
            axis = f"y{len(_PANELS)}"
            found.append(go.Bar(name=prefix + name, x=seconds, y=of(name), yaxis=axis, marker=marker, **shown))
    if several:
        entry = {"color": colour, "dash": dash}
        found.append(go.Scatter(name=story.name, x=[None], y=[None], mode="lines", line=entry, legendgroup=story.name))
    return found


def _node_traces(lives: Sequence[tuple[str, str, float, float]], axis: str) -> list[Any]:
    """A thick line for each phase of each node."""
    found: list[Any] = []
    for phase, (colour, _) in NODE_PHASES.items():
        x: list[float | None] = []
        y: list[str | None] = []
        for node, _, start, end in (life for life in lives if life[1] == phase):
            x += [start, end, None]
            y += [_short(node), _short(node), None]
        if x:
            edge = {"color": theme.EDGE, "width": 14}
            shape: dict[str, Any] = {"x": x, "y": y, "yaxis": axis, "mode": "lines"}
            found.append(go.Scatter(**shape, line=edge, showlegend=False, hoverinfo="skip"))
            line = {"color": colour, "width": 12}
            hover = "%{y}: " + phase.lower() + "<extra></extra>"
            found.append(go.Scatter(**shape, name=f"node {phase.lower()}", line=line, hovertemplate=hover))
    return found


def _short(name: str) -> str:
    """A provider's node names are long; beginning and end tell them apart."""
    return name if len(name) <= 24 else f"{name[:15]}…{name[-6:]}"


def _steps(changes: Sequence[tuple[float, int]], end: float) -> list[tuple[float, int]]:
    """A step line from the beginning of the axis to its end."""
    before = [count for at, count in changes if at <= 0]
    inside = [(at, count) for at, count in changes if 0 < at <= end]
    start = [(0.0, before[-1])] if before else []
    steps = [*start, *inside]
    return [*steps, (end, steps[-1][1])] if steps else []


def _marks(stories: Sequence[Story], end: float) -> tuple[list[Any], list[Any]]:
    """A line through all panels for each thing that happened, with its words on top."""
    shapes, words = [], []
    placed: list[tuple[float, str]] = []
    for story, (colour, _) in zip(stories, _STYLES, strict=False):
        seen: set[str] = set()
        for at, text in story.marks:
            if not 0 <= at <= end:
                continue
            place = {"x0": at, "x1": at, "xref": "x", "yref": "paper", "y0": 0, "y1": 1}
            shapes.append({"type": "line", **place, "line": {"color": colour, "width": 1, "dash": "dashdot"}})
            both = any(text == other and abs(at - when) < 1 for when, other in placed)
            if text not in seen and not both:  # the same thing many times, or to both at once, is said once
                seen.add(text)
                placed.append((at, text))
                here = {"x": at, "y": 1, "xref": "x", "yref": "paper", "xanchor": "left", "yanchor": "top"}
                words.append({**here, "text": text, "showarrow": False, "font": {"size": 11}})
    return shapes, words


def _words(stories: Sequence[Story], title: str) -> str:
    parts = []
    for story in stories:
        ready = [count for _, count in story.ready] or [0]
        counts = ", ".join(f"{story.total(name)} {name}" for name in ("sent", "complete", "dropped", "rejected"))
        peak = max([sample["in_flight"] for sample in story.samples] or [0])
        happened = ", ".join(dict.fromkeys(text for _, text in story.marks))
        tail = f"; {happened}" if happened else ""
        parts.append(
            f"{story.name}: {counts}; at most {peak} in the system; {min(ready)} to {max(ready)} ready replicas{tail}"
        )
    lives = next((story.nodes for story in stories if story.nodes), [])
    for node in dict.fromkeys(life[0] for life in lives):
        told = ", ".join(f"{life[1].lower()} from {life[2]:.0f} s" for life in lives if life[0] == node)
        parts.append(f"node {node}: {told}")
    return f"{title}. " + ". ".join(parts) + "."
