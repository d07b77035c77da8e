"""How long each way of doing the same thing takes: a bar each, on a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from . import theme

_LOOK = ((theme.BLUE, ""), (theme.ORANGE, "/"), (theme.GREEN, "."), (theme.PURPLE, "\\"))


@dataclass(frozen=True)
class Timed:
    """One way, measured.

    Attributes:
        by: which program or client did it; ways of one kind share a colour.
        ms: median time; None for a way that doesn't work, with ``note`` saying why.
        sent: bytes of the answers' bodies as they were sent, where they were counted.
        packed: whether they were sent compressed.
    """

    by: str
    way: str
    ms: float | None = None
    sent: int | None = None
    packed: bool = False
    note: str = ""

    @property
    def size(self) -> str:
        """Bytes sent, for people."""
        if self.sent is None:
            return ""
        size, units = float(self.sent), ["B", "KiB", "MiB"]
        while size >= 1024 and len(units) > 1:
            size, units = size / 1024, units[1:]
        return f"{size:.0f} {units[0]}" if size >= 10 or units[0] == "B" else f"{size:.1f} {units[0]}"

    @property
    def measured(self) -> str:
        """Time and bytes in one line."""
        if self.ms is None:
            return self.note
        packed = " (gzip)" if self.packed else ""
        return f"{self.ms:,.0f} ms" + (f", {self.size}{packed}" if self.size else "")


def timed_figure(rows: Sequence[Timed], title: str) -> go.Figure:
    """A bar per way, the first on top, its number written beside it; ways without a time are left out."""
    shown = [row for row in rows if row.ms is not None]
    kinds = list(dict.fromkeys(row.by for row in shown))
    traces = [_bars(kind, [row for row in shown if row.by == kind], *_LOOK[kinds.index(kind) % 4]) for kind in kinds]
    alt = f"{title}. " + ("; ".join(f"{row.way}: {row.measured}" for row in shown) or "Nothing was measured") + "."
    fig = theme.figure(title, "time (ms), logarithmic", "", alt, traces, height=190 + 34 * len(shown))
    if shown:
        times = [max(row.ms or 0, 0.1) for row in shown]
        # Room on the right for the longest bar's text.
        low, high = math.log10(min(times) / 2), math.log10(max(times))
        fig.update_xaxes(type="log", range=[low, high + 0.45 * (high - low)], dtick=1)
    fig.update_yaxes(autorange="reversed", categoryorder="array", categoryarray=[row.way for row in shown])
    return fig


def _bars(kind: str, rows: Sequence[Timed], colour: str, pattern: str) -> go.Bar:
    return go.Bar(
        name=kind,
        orientation="h",
        y=[row.way for row in rows],
        x=[row.ms for row in rows],
        text=[row.measured for row in rows],
        textposition="outside",
        cliponaxis=False,
        marker={"color": colour, "pattern": {"shape": pattern, "solidity": 0.3}},
        hovertemplate="%{y}: %{text}<extra></extra>",
    )
