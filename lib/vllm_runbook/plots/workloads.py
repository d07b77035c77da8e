"""What the pods of each workload are doing now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import plotly.graph_objects as go

from . import theme
from .timeline import PHASES


def workloads_figure(pods: Iterable[tuple[str, str]], title: str = "Pods by workload") -> go.Figure:
    """A bar per workload, in parts by phase.

    Args:
        pods: the workload and the phase (one of :data:`.timeline.PHASES`) of each pod.
    """
    counts = Counter(pods)
    names = sorted({workload for workload, _ in counts}, reverse=True)
    traces = []
    for phase, (colour, pattern) in PHASES.items():
        values = [counts[name, phase] for name in names]
        if any(values):
            traces.append(
                go.Bar(
                    name=phase,
                    orientation="h",
                    y=names,
                    x=values,
                    marker={"color": colour, "pattern": {"shape": pattern, "solidity": 0.3}},
                    hovertemplate="%{y}: %{x} " + phase + "<extra></extra>",
                )
            )
    words = "; ".join(f"{name}: {count} {phase.lower()}" for (name, phase), count in sorted(counts.items()))
    return theme.figure(
        title,
        "now (pods)",
        "",
        f"{title}. {words or 'There are no pods'}.",
        traces,
        barmode="stack",
        height=200 + 34 * len(names),
    )
