"""What the autoscaler would do: replicas wanted, over the value of its query."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import plotly.graph_objects as go

from . import theme

_STYLES = ((theme.BLUE, "solid"), (theme.VERMILION, "dash"), (theme.GREEN, "dot"))


def decision_figure(
    policies: Mapping[str, Callable[[float], int]], most: float, now: Mapping[str, float] | None = None
) -> go.Figure:
    """A step line per policy.

    Args:
        policies: by name, replicas wanted for a value of its query.
        most: largest value to show.
        now: present value of each query, marked on its line.
    """
    traces: list[go.Scatter] = []
    parts = []
    values = [most * step / 400 for step in range(401)]
    for (name, wanted), (colour, dash) in zip(policies.items(), _STYLES, strict=False):
        line = {"color": colour, "dash": dash, "shape": "hv"}
        traces.append(go.Scatter(name=name, x=values, y=[wanted(value) for value in values], mode="lines", line=line))
        marks = ", ".join(f"{wanted(value)} at {value:g}" for value in (most / 4, most / 2, most))
        parts.append(f"{name}: {marks}")
        if now and name in now:
            at = now[name]
            marker = {"color": colour, "size": 11, "symbol": "diamond"}
            traces.append(go.Scatter(name=f"{name} now", x=[at], y=[wanted(at)], mode="markers", marker=marker))
    title = "Replicas that the autoscaler wants"
    return theme.figure(title, "value of the query (requests)", "replicas", f"{title}. {'; '.join(parts)}.", traces)
