"""How far the weights have come: bytes over time, and file by file."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import plotly.graph_objects as go

from . import theme
from .recorder import Recorder

GIB = 2**30
UNITS = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


class PrefetchProgress(Recorder):
    """Collects the bytes on the volume and draws them.

    Args:
        totals: bytes of each file when complete, as the hub states them.
    """

    def __init__(self, totals: Mapping[str, int], title: str = "Weights on the volume") -> None:
        super().__init__()
        self._totals = dict(totals)
        self._title = title
        self._times: list[datetime] = []
        self._done: list[dict[str, int]] = []

    def expect(self, totals: Mapping[str, int]) -> None:
        """Set what the hub states, when it is known later than the plot."""
        self._totals = dict(totals)
        self.changed()

    def record(self, event_time: datetime, done: Mapping[str, int]) -> None:
        """Take in the bytes that each file has now; files left out keep what they had."""
        self._done.append({**self._latest, **done})
        self._times.append(event_time)
        self.changed()

    @property
    def _latest(self) -> dict[str, int]:
        return self._done[-1] if self._done else {}

    @property
    def total(self) -> int:
        """Bytes of all files."""
        return sum(self._totals.values())

    @property
    def done(self) -> int:
        """Bytes present; a file never counts for more than its size."""
        return self._sum(self._latest)

    @property
    def complete(self) -> bool:
        """Whether every file has its size. Sums are checked elsewhere."""
        return all(self._latest.get(name, 0) >= size for name, size in self._totals.items())

    def _sum(self, done: Mapping[str, int]) -> int:
        return sum(min(done.get(name, 0), size) for name, size in self._totals.items())

    def figure(self) -> go.Figure:
        """Left: all bytes over time, with the goal. Right: how much of each file is there."""
        unit, factor = next(((name, size) for name, size in UNITS if self.total >= size), ("B", 1))
        zero = self._times[0] if self._times else None
        seconds = [(at - zero).total_seconds() for at in self._times] if zero else []
        sums = [self._sum(done) / factor for done in self._done]
        traces = [
            go.Scatter(name="present", x=seconds, y=sums, mode="lines", fill="tozeroy", line={"color": theme.BLUE}),
            *self._files(),
        ]
        share = self.done / self.total if self.total else 1
        missing = [
            name for name, size in self._totals.items() if (self._done[-1] if self._done else {}).get(name, 0) < size
        ]
        state = "complete" if self.complete else f"{share:.0%}, {len(missing)} of {len(self._totals)} files incomplete"
        alt = f"{self._title}: {self.done / factor:.2f} of {self.total / factor:.2f} {unit} ({state})."
        fig = theme.figure(self._title, "time since the start (s)", f"bytes present ({unit})", alt, traces)
        return self._layout(fig, self.total / factor, unit)

    def _files(self) -> list[go.Bar]:
        latest, names = self._latest, list(self._totals)
        shares = [100 * min(1.0, latest.get(name, 0) / size) if size else 100.0 for name, size in self._totals.items()]
        bars = go.Bar(
            name="share of the file",
            orientation="h",
            y=names,
            x=shares,
            xaxis="x2",
            yaxis="y2",
            marker={"color": [theme.GREEN if share >= 100 else theme.ORANGE for share in shares]},
            hovertemplate="%{y}: %{x:.0f} %<extra></extra>",
        )
        return [bars] if names else []

    def _layout(self, fig: go.Figure, goal: float, unit: str) -> go.Figure:
        fig.add_hline(y=goal, line={"dash": "dash", "color": theme.TEXT}, annotation_text=f"all: {goal:.2f} {unit}")
        fig.update_layout(
            xaxis={"domain": [0, 0.52]},
            yaxis={"range": [0, goal * 1.15 or 1]},
            xaxis2={"domain": [0.68, 1], "anchor": "y2", "range": [0, 100], "title": {"text": "share of the file (%)"}},
            yaxis2={"anchor": "x2", "autorange": "reversed", "showticklabels": len(self._totals) <= 12},
            showlegend=False,
            height=max(360, 120 + 18 * min(len(self._totals), 40)),
        )
        return fig
