"""Horizontal bars in parts: how many things of each name are in each state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import plotly.graph_objects as go

from . import theme


def stacked_figure(
    counts: Counter[tuple[str, str]], looks: Mapping[str, tuple[str, str]], title: str, axis: str, words: str
) -> go.Figure:
    """A bar per name, in parts by state.

    Args:
        counts: by name and state.
        looks: colour and pattern of each state, in the order in which they are drawn.
        axis: title of the horizontal axis.
        words: what the figure shows, for those who can't see it.
    """
    names = sorted({name for name, _ in counts}, reverse=True)
    traces = []
    for state, (colour, pattern) in looks.items():
        values = [counts[name, state] for name in names]
        if any(values):
            traces.append(
                go.Bar(
                    name=state,
                    orientation="h",
                    y=names,
                    x=values,
                    marker={"color": colour, "pattern": {"shape": pattern, "solidity": 0.3}},
                    hovertemplate="%{y}: %{x} " + state + "<extra></extra>",
                )
            )
    return theme.figure(title, axis, "", words, traces, barmode="stack", height=200 + 34 * len(names))
