"""How fast error budgets are used up, against the pace at which somebody is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import plotly.graph_objects as go

from . import theme

_DASHES = ("solid", "dash", "dot", "dashdot")


def burn_figure(series: Mapping[str, Sequence[tuple[datetime, float]]], paces: Mapping[str, float]) -> go.Figure:
    """A line per objective and window.

    Args:
        series: by name, points of time and multiple of the allowed pace.
        paces: alerts and the multiple at which they fire.
    """
    title = "How fast the error budgets burn"
    traces, parts = [], []
    for number, (name, points) in enumerate(series.items()):
        line = {"color": theme.LINES[number % 4], "dash": _DASHES[number // 4 % 4]}
        x, y = [at for at, _ in points], [value for _, value in points]
        traces.append(go.Scatter(name=name, x=x, y=y, mode="lines", line=line))
        parts.append(f"{name}: at most {max(y, default=0):.3g} times")
    fig = theme.figure(
        title,
        "time (UTC)",
        "multiple of what the budget allows",
        f"{title}. {'; '.join(parts) or 'There were no requests'}. "
        + "; ".join(f"{name} from {pace:g}" for name, pace in paces.items())
        + ".",
        traces,
    )
    for name, pace in paces.items():
        fig.add_hline(
            y=pace, line={"color": theme.EDGE, "dash": "dot", "width": 1}, annotation_text=f"{name} ({pace:g})"
        )
    return fig
