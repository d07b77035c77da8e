"""What the pods of each workload are doing now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import plotly.graph_objects as go

from .stacked import stacked_figure
from .timeline import PHASES


def workloads_figure(pods: Iterable[tuple[str, str]], title: str = "Pods by workload") -> go.Figure:
    """A bar per workload, in parts by phase.

    Args:
        pods: the workload and the phase (one of :data:`.timeline.PHASES`) of each pod.
    """
    counts = Counter(pods)
    words = "; ".join(f"{name}: {count} {phase.lower()}" for (name, phase), count in sorted(counts.items()))
    return stacked_figure(counts, PHASES, title, "now (pods)", f"{title}. {words or 'There are no pods'}.")
