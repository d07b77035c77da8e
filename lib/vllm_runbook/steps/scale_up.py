"""Scale-up time in its parts: from the moment that the load exceeds the target to a new replica that serves."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import plotly.graph_objects as go

from ..errors import RunbookError
from ..notebook import Notebook
from ..plots import theme
from ..tables import Table
from .autoscaling import Policy
from .experiment import Experiment
from .observability import prometheus

PARTS = ("scrape", "hpa", "schedule", "load")
_MEANING = {
    "scrape": "until Prometheus has a sample that shows it",
    "hpa": "until KEDA and the HPA have raised spec.replicas",
    "schedule": "until a new pod has its node",
    "load": "until that pod's server is ready",
}


@dataclass(frozen=True)
class ScaleUp:
    """Five moments. ``breach``: more requests in the system than one replica's share, as the clients saw it."""

    breach: datetime
    scraped: datetime
    decided: datetime
    scheduled: datetime
    ready: datetime

    def parts(self) -> dict[str, float]:
        """Seconds of each part, in order."""
        moments = (self.breach, self.scraped, self.decided, self.scheduled, self.ready)
        spans = (later - earlier for earlier, later in itertools.pairwise(moments))
        return {name: round(max(0.0, span.total_seconds()), 1) for name, span in zip(PARTS, spans, strict=True)}

    @property
    def total(self) -> float:
        return round((self.ready - self.breach).total_seconds(), 1)


def measure(book: Notebook, experiment: Experiment, policy: Policy) -> ScaleUp:
    """Find the moments in what an experiment saw; note them as figures.

    Raises:
        RunbookError: the load never exceeded the target, or nothing was scaled.
    """
    found = ScaleUp(
        breach=(breach := _breach(experiment, policy)),
        scraped=_scraped(book, breach, policy),
        decided=_decided(experiment, breach),
        scheduled=_pod_moment(experiment, "PodScheduled"),
        ready=_pod_moment(experiment, "Ready"),
    )
    for name, seconds in found.parts().items():
        book.figure(f"scale_up.{name}_s", seconds)
    book.figure("scale_up.total_s", found.total)
    return found


def _breach(experiment: Experiment, policy: Policy) -> datetime:
    """Within the first second whose end has more requests than the target, in proportion."""
    before = 0
    for sample in experiment.report.samples:
        now = sample["in_flight"]
        if now > policy.threshold and experiment.report.began is not None:
            share = (policy.threshold - before) / (now - before)
            return experiment.report.began + timedelta(seconds=sample["second"] - 1 + max(0.0, share))
        before = now
    raise RunbookError(
        "The load never exceeded the target",
        why=f"{policy.name}: no second had more than {policy.threshold} requests in the system",
        next_step="Raise the rate, or the requests' length.",
    )


def _scraped(book: Notebook, breach: datetime, policy: Policy) -> datetime:
    """When the first scrape after the breach was made: raw samples carry their own time."""
    interval = book.params.platform.metrics.scrape_interval_seconds
    query = f'vllm:num_requests_running{{namespace="{book.namespace}"}}[{4 * interval}s]'
    series = prometheus(book).query(query, at=breach + timedelta(seconds=2 * interval))
    times = sorted(at for each in series for at, _ in each.points if at >= breach)
    if not times:
        raise RunbookError("Prometheus has no sample from after the breach", why=query)
    return times[0]


def _decided(experiment: Experiment, breach: datetime) -> datetime:
    before = experiment.replicas[0][1] if experiment.replicas else 1
    for at, count in experiment.replicas:
        if at >= breach and count > before:
            return at
    raise RunbookError(
        "Nothing was scaled",
        why=f"spec.replicas stayed {before}",
        next_step="Is the ScaledObject paused, or at its maximum?",
    )


def _pod_moment(experiment: Experiment, condition: str) -> datetime:
    moments = experiment.moments(condition)
    if not moments:
        raise RunbookError(f"No new pod became {condition} while the load ran", next_step="Let it run longer.")
    return min(moments)


def table(book: Notebook, found: ScaleUp) -> Table:
    """The parts, with what they consist of and what shortens them."""
    platform = book.params.platform
    metrics, scaling = platform.metrics, platform.autoscaling
    scale = f" (load times / {platform.time_scale:g} here)" if platform.time_scale != 1 else ""
    start = book.sizing.startup.load_seconds
    settings = {
        "scrape": f"metrics.scrape_interval_seconds {metrics.scrape_interval_seconds}: half of it on average",
        "hpa": f"the controller manager's sync period (15 s by default); pollingInterval {scaling.polling_seconds} s "
        "matters for 0 to 1 only",
        "schedule": "a free GPU; without one, a new node: minutes",
        "load": f"weights from the volume and compilation: {start:.0f} s estimated{scale}; startup probe every "
        f"{book.sizing.startup.period_seconds} s",
    }
    rows: list[tuple[Any, ...]] = [
        (name, f"{seconds:.1f} s", _MEANING[name], settings[name]) for name, seconds in found.parts().items()
    ]
    rows.append(
        ("total", f"{found.total:.1f} s", "from the breach to a new replica that serves", "guides promise 15 to 30 s")
    )
    return Table(("part", "measured", "what it is", "what decides it"), rows)


def figure(book: Notebook, found: ScaleUp) -> go.Figure:
    """One bar in four parts."""
    scale = book.params.platform.time_scale
    unit = "s" if scale == 1 else f"s; load times / {scale:g}"
    traces = [
        go.Bar(
            name=name,
            orientation="h",
            y=["scale-up"],
            x=[seconds],
            text=[f"{seconds:.1f} s"],
            marker={"color": colour, "pattern": {"shape": shape, "solidity": 0.3}},
            hovertemplate=f"{_MEANING[name]}: %{{x:.1f}} s<extra></extra>",
        )
        for (name, seconds), colour, shape in zip(
            found.parts().items(), (theme.GREY, theme.BLUE, theme.SKY, theme.ORANGE), ("", "/", ".", "x"), strict=True
        )
    ]
    words = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in found.parts().items())
    alt = f"Scale-up took {found.total:.1f} s: {words}."
    title = "From the breach to a new replica that serves"
    return theme.figure(title, f"time since the breach ({unit})", "", alt, traces, barmode="stack", height=260)
