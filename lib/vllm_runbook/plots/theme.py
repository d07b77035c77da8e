"""How every figure looks: one template, colours that colour-blind readers can tell apart, text for those who can't see.

Backgrounds are transparent and text is a grey that has at least 4:1 contrast on white and on JupyterLab's
dark background, so that one figure serves both. Colours are Okabe and Ito's ("Color Universal Design",
2008); states also differ by pattern.
"""

from __future__ import annotations

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
TEXT: Final = "#787878"
GRID: Final = "rgba(128,128,128,0.25)"

COLOURS: Final = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, YELLOW, GREY)

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
            "colorway": list(COLOURS),
            "font": {"color": TEXT, "size": 13, "family": "system-ui, sans-serif"},
            "title": {"font": {"size": 17}, "x": 0, "xanchor": "left", "xref": "paper", "y": 0.97, "yanchor": "top"},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "xaxis": axis,
            "yaxis": axis,
            # Above the plot: below it, a low figure's legend would lie on the axis title.
            "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
            "margin": {"l": 60, "r": 20, "t": 90, "b": 60},
            "hoverlabel": {"font": {"size": 12}},
            "bargap": 0.35,
        }
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
