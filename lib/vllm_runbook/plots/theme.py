"""How every figure looks: one template, colours that colour-blind readers can tell apart, text for those who can't see.

One figure serves light and dark ground: backgrounds are transparent. Colours are Okabe and Ito's ("Color Universal
Design", 2008); states also differ by pattern. Contrast is WCAG 2.2's: at least 3:1 for lines and for the edges of areas
(1.4.11), 4.5:1 for text (1.4.3). No grey has 4.5:1 on white and on Lab's dark ground (#111111) at once, so the report
and `runbook lab` give text the page's own colour; elsewhere it is a grey of 4.5:1 on white and 4.1:1 on dark.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import plotly.graph_objects as go
import plotly.io as pio

ORANGE: Final = "#E69F00"
SKY: Final = "#56B4E9"
GREEN: Final = "#009E73"
YELLOW: Final = "#F0E442"
BLUE: Final = "#0072B2"
VERMILION: Final = "#D55E00"
PURPLE: Final = "#CC79A7"
GREY: Final = "#999999"
TEXT: Final = "#767676"
EDGE: Final = "#808080"
GRID: Final = "rgba(128,128,128,0.25)"

#: For lines and marks, which have no edge.
LINES: Final = (BLUE, VERMILION, GREEN, PURPLE)
#: For areas, which have one.
AREAS: Final = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, YELLOW, GREY)

TEMPLATE_NAME: Final = "runbook"


def _template() -> go.layout.Template:
    axis = {
        "gridcolor": GRID,
        "linecolor": GRID,
        "zerolinecolor": GRID,
        "ticks": "outside",
        "tickcolor": GRID,
        "automargin": True,
        "title": {"font": {"size": 13}},
    }
    return go.layout.Template(
        layout={
            "colorway": list(AREAS),
            "font": {"color": TEXT, "size": 13, "family": "system-ui, sans-serif"},
            "title": {"font": {"size": 17}, "x": 0, "xanchor": "left", "xref": "paper", "y": 0.97, "yanchor": "top"},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "xaxis": axis,
            "yaxis": axis,
            # Above the plot: below it, a low figure's legend would lie on the axis title.
            "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
            "margin": {"l": 60, "r": 20, "t": 90, "b": 60},
            "hoverlabel": {"bgcolor": "#FFFFFF", "bordercolor": EDGE, "font": {"size": 12, "color": "#1C2430"}},
            "bargap": 0.35,
        },
        data={"bar": [{"marker": {"line": {"color": EDGE, "width": 1}}}]},
    )


TEMPLATE: Final = _template()
pio.templates[TEMPLATE_NAME] = TEMPLATE


def figure(title: str, x: str, y: str, alt: str, traces: list[Any] | None = None, **layout: Any) -> go.Figure:
    """A figure in this project's look.

    Args:
        title: what the figure says.
        x: title of the x axis with its unit; empty where categories speak for themselves.
        y: likewise.
        alt: the figure in words, with its numbers; kept in ``layout.meta["alt"]`` and shown where
            figures can't be.
    """
    return go.Figure(
        data=traces or [],
        layout={
            "template": TEMPLATE,
            "title": {"text": title},
            "xaxis": {"title": {"text": x}},
            "yaxis": {"title": {"text": y}},
            "meta": {"alt": alt},
            **layout,
        },
    )


def alt_text(fig: go.Figure) -> str:
    """The figure in words; empty for figures that weren't made here."""
    meta = fig.layout.meta
    return str(meta.get("alt", "")) if isinstance(meta, dict) else ""


def description(fig: Mapping[str, Any]) -> str:
    """What a figure shows, for those who can't see it: its kind, its words with the main values, its axes.

    Args:
        fig: the figure as plain JSON, which is what notebooks keep.
    """
    layout = fig["layout"]
    words = str((layout.get("meta") or {}).get("alt", ""))
    kinds = [
        name for kind, name in _KINDS.items() if any(trace.get("type", "scatter") == kind for trace in fig["data"])
    ]
    parts = [f"{' and '.join(kinds).capitalize()}." if kinds else "", words]
    for axis, name in (("x", "Horizontal"), ("y", "Vertical")):
        titles = [_plain(value) for key, value in sorted(layout.items()) if re.fullmatch(rf"{axis}axis\d*", key)]
        if found := [title for title in dict.fromkeys(titles) if title]:
            parts.append(f"{name} {'axis' if len(found) == 1 else 'axes'}: {'; '.join(found)}.")
    return " ".join(part for part in parts if part)


_KINDS: Final = {"bar": "bar chart", "scatter": "line chart"}


def _plain(axis: Mapping[str, Any]) -> str:
    """An axis's title without its markup."""
    return re.sub(r"\s*<[^>]+>\s*", " ", (axis.get("title") or {}).get("text") or "").strip()
