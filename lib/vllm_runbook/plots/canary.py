"""How a new version did beside the stable one, step by step."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from . import theme

_LOOKS = (("canary", theme.ORANGE, "/"), ("stable", theme.BLUE, ""))


def canary_figure(steps: Sequence[tuple[str, float | None, float | None]], title: str) -> go.Figure:
    """A pair of bars per step.

    Args:
        steps: name, and the 95th percentile of the time to first token of canary and stable, in seconds.
    """
    names = [name for name, _, _ in steps]
    traces = [
        go.Bar(
            name=version,
            x=names,
            y=[step[number] for step in steps],
            marker={"color": colour, "pattern": {"shape": pattern, "solidity": 0.3}},
            hovertemplate="%{x}, " + version + ": %{y:.2f} s<extra></extra>",
        )
        for number, (version, colour, pattern) in enumerate(_LOOKS, 1)
    ]
    told = [f"at {name} the canary {_words(ours)}, the stable version {_words(theirs)}" for name, ours, theirs in steps]
    alt = f"{title}. " + ("; ".join(told) or "No step was judged") + "."
    return theme.figure(title, "share of the traffic", "TTFT p95 (s)", alt, traces, barmode="group")


def _words(value: float | None) -> str:
    return "had no answer" if value is None else f"{value:.2f} s"
