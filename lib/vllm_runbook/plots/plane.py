"""Queue over cache: a plane in which each corner says what is short, and where the servers are in it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from . import theme

_MARKS = ("circle", "diamond", "square", "x")
#: Queue lengths that are written on the axis, as far as it goes.
_TICKS = (0, 1, 5, 20, 50, 100, 200, 500, 1000, 2000, 5000)


def plane_figure(
    points: Sequence[tuple[str, float, float, str]], waiting: float, cache: float, idle: float
) -> go.Figure:
    """Points in the plane of queue and cache; queues on a square-root scale, for short ones matter as well.

    Args:
        points: name, requests waiting for each server, share of the cache, what that means.
        waiting, cache: from when on a queue is long and a cache full.
        idle: below this share a cache isn't what's short.
    """
    widest = 1.15 * max((point[1] for point in points), default=1)
    waiting = min(waiting, 2 * widest + 1)  # without a threshold: beyond every point
    most = max(2 * waiting, widest)
    areas = (
        (waiting, most, 0.0, idle, theme.BLUE, "queue, and an idle cache:<br>more pods"),
        (waiting, most, cache, 1.0, theme.VERMILION, "queue, and a full cache:<br>bigger GPU, then more pods"),
        (waiting, most, idle, cache, theme.ORANGE, "queue, and a cache in use:<br>more pods, then look again"),
        (0.0, waiting, cache, 1.0, theme.PURPLE, "full, no queue:<br>no reserve"),
    )
    title = "Bigger GPU, or more pods?"
    traces = [
        go.Scatter(
            name=name,
            x=[math.sqrt(queue)],
            y=[share],
            mode="markers",
            marker={"size": 13, "symbol": mark, "color": theme.EDGE, "line": {"width": 2, "color": theme.VERMILION}},
            hovertemplate=f"{name}: {meaning}<extra></extra>",
        )
        for (name, queue, share, meaning), mark in zip(points, _MARKS * len(points), strict=False)
    ]
    words = "; ".join(
        f"{name}: {queue:.3g} waiting, {share:.0%} of the cache: {meaning}" for name, queue, share, meaning in points
    )
    fig = theme.figure(
        title,
        "requests waiting for each server (square-root scale)",
        "KV cache in use",
        f"{title} {words or 'Nothing measured'}.",
        traces,
    )
    for fewest, longest, low, high, colour, label in areas:
        left, right = math.sqrt(fewest), math.sqrt(longest)
        fig.add_shape(
            type="rect",
            x0=left,
            x1=right,
            y0=low,
            y1=high,
            fillcolor=colour,
            opacity=0.15,
            line={"width": 1, "color": theme.EDGE},
            layer="below",
        )
        fig.add_annotation(x=(left + right) / 2, y=(low + high) / 2, text=label, showarrow=False)
    ticks = [tick for tick in _TICKS if tick <= most]
    edge = math.sqrt(most)
    fig.update_xaxes(range=[-0.03 * edge, edge], tickvals=[math.sqrt(tick) for tick in ticks], ticktext=ticks)
    fig.update_yaxes(range=[-0.03, 1.02], tickformat=".0%")
    return fig
