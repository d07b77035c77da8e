"""Where a GPU's memory goes, and whether that fits."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go

from ..sizing import Sizing
from . import theme

GIB = 2**30


def memory_figure(sizings: Sizing | Mapping[str, Sizing], title: str = "") -> go.Figure:
    """A stacked bar per sizing (``{label: sizing}`` to compare), against what the GPU has.

    The last part is the KV cache: what one request of ``max_model_len`` needs, and the rest. Of a
    misfit, the need is drawn, beyond the line.
    """
    named = sizings if isinstance(sizings, Mapping) else {sizings.params.model.name: sizings}
    parts = {label: _parts(sizing) for label, sizing in named.items()}
    labels = list(named)
    traces = [
        go.Bar(
            name=part,
            orientation="h",
            y=labels,
            x=[parts[label][part] / GIB for label in labels],
            marker={"color": colour, "pattern": {"shape": pattern, "solidity": 0.3}},
            hovertemplate="%{y}: %{x:.2f} GiB " + part + "<extra></extra>",
        )
        for part, (colour, pattern) in LOOK.items()
        if part != "LoRA adapters" or any(sizing.gpu.adapters for sizing in named.values())
    ]
    misfits = [label for label, sizing in named.items() if not sizing.fits]
    verdict = "fits" if not misfits else f"does not fit: {', '.join(misfits)}" if len(named) > 1 else "does not fit"
    heading = title or f"Memory per GPU: {verdict}"
    fig = theme.figure(
        heading,
        "memory per GPU (GiB)",
        "",
        _words(heading, named),
        traces,
        barmode="stack",
        height=245 + 60 * len(labels),
        margin={"l": 60, "r": 20, "t": 115, "b": 60},  # on paper its legend has three lines
    )
    for row, sizing in enumerate(named.values()):
        _limit(fig, row, sizing.gpu.usable / GIB, "dash")
        _limit(fig, row, sizing.gpu.total / GIB, "solid")
        text = f"usable {sizing.gpu.usable / GIB:.1f} of {sizing.gpu.total / GIB:.0f} GiB"
        fig.add_annotation(x=sizing.gpu.total / GIB, y=row - 0.42, yanchor="bottom", text=text, showarrow=False)
    # First bar on top, with room above it for its note.
    fig.update_yaxes(range=[len(labels) - 0.5, -0.85])
    return fig


LOOK = {
    "weights": (theme.BLUE, ""),
    "LoRA adapters": (theme.YELLOW, "+"),
    "activations": (theme.ORANGE, "/"),
    "non-torch": (theme.GREY, "x"),
    "CUDA graphs": (theme.PURPLE, "\\"),
    "KV cache, one longest request": (theme.GREEN, "."),
    "KV cache, more requests": (theme.SKY, ""),
}


def _parts(sizing: Sizing) -> dict[str, int]:
    gpu = sizing.gpu
    one = sizing.params.model.max_model_len * sizing.kv.bytes_per_token
    return {
        "weights": gpu.weights,
        "LoRA adapters": gpu.adapters,
        "activations": gpu.activations,
        "non-torch": gpu.non_torch,
        "CUDA graphs": gpu.cuda_graphs,
        "KV cache, one longest request": one,
        "KV cache, more requests": max(0, gpu.kv_cache - one),
    }


def _limit(fig: go.Figure, row: int, at: float, dash: str) -> None:
    """A line across one bar: dashed for what the server allows itself, solid for the GPU's end."""
    line = {"color": theme.VERMILION, "width": 3, "dash": dash}
    fig.add_shape(type="line", x0=at, x1=at, y0=row - 0.42, y1=row + 0.42, line=line)


def _words(heading: str, named: Mapping[str, Sizing]) -> str:
    rows = []
    for label, sizing in named.items():
        gpu, left = sizing.gpu, sizing.gpu.kv_cache / GIB
        cache = f"{left:.1f} GiB left for the KV cache" if left > 0 else f"{-left:.1f} GiB too much"
        verdict = "fits" if sizing.fits else "does not fit"
        rows.append(
            f"{label} {verdict}: {gpu.weights / GIB:.1f} GiB weights of {gpu.usable / GIB:.1f} GiB usable, {cache}"
        )
    return f"{heading}. {'; '.join(rows)}."
