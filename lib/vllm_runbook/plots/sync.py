"""Which objects are in the cluster as they were exported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import plotly.graph_objects as go

from . import theme
from .stacked import stacked_figure

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
    words = "; ".join(f"{name}: {count} {state}" for (name, state), count in sorted(counts.items()))
    return stacked_figure(counts, STATES, title, "objects", f"{title}. {words or 'There are no objects'}.")
