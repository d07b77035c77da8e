"""Which objects are in the cluster as they were exported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import plotly.graph_objects as go

from . import theme

#: Colour and pattern of a state; in the order in which they are drawn.
STATES = {
    "in sync": (theme.GREEN, ""),
    "drifted": (theme.VERMILION, "/"),
    "missing": (theme.ORANGE, "x"),
    "not applied": (theme.GREY, "."),
}


def sync_figure(objects: Iterable[tuple[str, str]], title: str) -> go.Figure:
    """A bar per notebook, in parts by state.

    Args:
        objects: the notebook and the state (one of :data:`STATES`) of each object.
    """
    counts = Counter(objects)
    names = sorted({notebook for notebook, _ in counts}, reverse=True)
    traces = []
    for state, (colour, pattern) in STATES.items():
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
    words = "; ".join(f"{name}: {count} {state}" for (name, state), count in sorted(counts.items()))
    layout = {"barmode": "stack", "height": 200 + 34 * len(names)}
    return theme.figure(title, "objects", "", f"{title}. {words or 'There are no objects'}.", traces, **layout)
