"""What each pod was doing when: from watch events to a bar per pod; and the same of nodes."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

import plotly.graph_objects as go

from . import theme
from .recorder import Recorder

Object = Mapping[str, Any]

#: Rows that are drawn: more can't be read, and a cluster may have tens of thousands of pods.
MOST = 80

#: Phases in the order of a pod's life, with colour and pattern.
PHASES: dict[str, tuple[str, str]] = {
    "Pending": (theme.GREY, "."),
    "Init": (theme.PURPLE, "\\"),
    "Creating": (theme.YELLOW, "."),
    "Loading": (theme.ORANGE, "/"),
    "Ready": (theme.GREEN, ""),
    "Crashed": (theme.VERMILION, "x"),
    "Terminating": (theme.SKY, "\\"),
    "Completed": (theme.BLUE, ""),
    "Failed": (theme.VERMILION, "+"),
}


#: Phases of a node that comes and goes.
NODE_PHASES: dict[str, tuple[str, str]] = {
    "Joining": (theme.YELLOW, "."),
    "Ready": (theme.GREEN, ""),
    "Draining": (theme.SKY, "\\"),
    "Shutting down": (theme.ORANGE, "/"),
    "Not ready": (theme.VERMILION, "x"),
}


def node_phase_of(node: Object) -> str:
    """What a node is doing, in one of the words of :data:`NODE_PHASES`."""
    ready = next((c for c in node.get("status", {}).get("conditions", ()) if c["type"] == "Ready"), None)
    if ready is not None and ready["status"] == "False" and "shutting down" in ready.get("message", ""):
        return "Shutting down"
    leaving = node["metadata"].get("deletionTimestamp") or node.get("spec", {}).get("unschedulable")
    disrupted = any(taint["key"] == "karpenter.sh/disrupted" for taint in node.get("spec", {}).get("taints") or ())
    if ready is not None and ready["status"] == "Unknown":
        return "Not ready"
    if leaving or disrupted:
        return "Draining"
    return "Ready" if ready is not None and ready["status"] == "True" else "Joining"


def phase_of(pod: Object) -> str:
    """What a pod is doing, in one of the words of :data:`PHASES`.

    The API's ``status.phase`` says Running from the first process on; here *Loading* is running
    and not yet ready, *Crashed* a container between two attempts, *Pending* waiting for a node.
    """
    status = pod.get("status", {})
    phase = status.get("phase", "Pending")
    if phase in ("Succeeded", "Failed"):
        return "Completed" if phase == "Succeeded" else "Failed"
    if pod["metadata"].get("deletionTimestamp"):
        return "Terminating"
    if not pod.get("spec", {}).get("nodeName"):
        return "Pending"
    inits, mains = status.get("initContainerStatuses", []), status.get("containerStatuses", [])
    if any(_crashed(container) for container in [*inits, *mains]):
        return "Crashed"
    if any(not _done(container) for container in inits):
        return "Init"
    if phase == "Pending":
        return "Creating"
    return "Ready" if _condition(status, "Ready") else "Loading"


def _crashed(container: Object) -> bool:
    state = container.get("state", {})
    failed = state.get("terminated", {}).get("exitCode", 0) != 0
    return failed or state.get("waiting", {}).get("reason") in ("CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull")


def _done(container: Object) -> bool:
    """An init container that has ended well, or a sidecar (restartPolicy Always) that has started."""
    return container.get("state", {}).get("terminated", {}).get("exitCode") == 0 or bool(container.get("started"))


def _condition(status: Object, kind: str) -> bool:
    return any(item["type"] == kind and item["status"] == "True" for item in status.get("conditions", ()))


@dataclass
class Span:
    """A pod in one phase; ``end`` is None as long as it lasts."""

    phase: str
    start: datetime
    end: datetime | None = None


@dataclass
class _Life:
    spans: list[Span] = field(default_factory=list)
    restarts: int = 0
    marks: list[tuple[datetime, str]] = field(default_factory=list)


class PodTimeline(Recorder):
    """Collects pods from a watch and draws their lives.

    Args:
        time_scale: what the platform divides long durations by; named on the axis if not 1.
    """

    def __init__(self, title: str = "Pods over time", time_scale: float = 1) -> None:
        super().__init__()
        self._title = title
        self._scale = time_scale
        self._pods: dict[str, _Life] = {}
        self._last: datetime | None = None

    phases: ClassVar = PHASES

    def _phase(self, item: Object) -> str:
        return phase_of(item)

    def record(self, event_time: datetime, pod: Object, *, deleted: bool = False) -> None:
        """Take in one watch event (``deleted`` for DELETED). Events of one pod come in order of time."""
        self._last = event_time if self._last is None else max(self._last, event_time)
        life = self._pods.setdefault(pod["metadata"]["name"], _Life())
        phase = self._phase(pod)
        last = life.spans[-1] if life.spans else None
        if deleted:
            if last is not None and last.end is None:
                last.end = event_time
        elif last is None or last.phase != phase or last.end is not None:
            if last is not None and last.end is None:
                last.end = event_time
            life.spans.append(Span(phase, event_time))
        self._note_restarts(life, event_time, pod)
        self.changed()

    @staticmethod
    def _note_restarts(life: _Life, event_time: datetime, pod: Object) -> None:
        containers = pod.get("status", {}).get("containerStatuses", [])
        restarts = sum(container.get("restartCount", 0) for container in containers)
        if restarts > life.restarts:
            ended = [container.get("lastState", {}).get("terminated", {}) for container in containers]
            life.marks.append((event_time, next((str(end["reason"]) for end in ended if end.get("reason")), "restart")))
        life.restarts = restarts

    def spans(self, pod: str) -> list[Span]:
        """The phases of one pod so far."""
        return list(self._pods[pod].spans)

    def lives(self) -> dict[str, list[Span]]:
        """All phases by name, in the order in which they were first seen."""
        return {name: list(life.spans) for name, life in self._pods.items()}

    def figure(self) -> go.Figure:
        """A horizontal bar per pod, coloured and patterned by phase; crosses where a container restarted.

        Of more than :data:`MOST` pods, those that aren't well come first, then the newest.
        """
        unit = "s" if self._scale == 1 else f"s; load times / {self._scale:g}"
        starts = [life.spans[0].start for life in self._pods.values() if life.spans]
        if not starts or self._last is None:
            return theme.figure(self._title, f"time since the start ({unit})", "", "No pods yet.")
        zero, now, shown = min(starts), self._last, self._shown()
        traces: list[Any] = [trace for phase in self.phases if (trace := self._bars(shown, phase, zero, now))]
        marks = [(name, at, reason) for name, life in shown.items() for at, reason in life.marks]
        if marks:
            traces.append(_crosses(marks, zero))
        layout = {"barmode": "overlay", "yaxis_autorange": "reversed", "height": 200 + 34 * len(shown)}
        left_out = f" ({len(shown)} of {len(self._pods):,} drawn)" if len(shown) < len(self._pods) else ""
        title = f"{self._title}{left_out}"
        return theme.figure(title, f"time since the start ({unit})", "", self._words(), traces, **layout)

    def _shown(self) -> dict[str, _Life]:
        """Lives that are drawn, in the order in which they were first seen."""
        if len(self._pods) <= MOST:
            return self._pods
        order = {name: at for at, name in enumerate(self._pods)}
        chosen = heapq.nsmallest(MOST, self._pods, key=lambda name: (_well(self._pods[name]), -order[name]))
        return {name: self._pods[name] for name in sorted(chosen, key=order.__getitem__)}

    def _bars(self, shown: Mapping[str, _Life], phase: str, zero: datetime, now: datetime) -> go.Bar | None:
        rows = [(name, span) for name, life in shown.items() for span in life.spans if span.phase == phase]
        if not rows:
            return None
        colour, pattern = self.phases[phase]
        return go.Bar(
            name=phase,
            orientation="h",
            y=[name for name, _ in rows],
            base=[(span.start - zero).total_seconds() for _, span in rows],
            x=[((span.end or now) - span.start).total_seconds() for _, span in rows],
            marker={"color": colour, "pattern": {"shape": pattern, "solidity": 0.3}},
            hovertemplate="%{y}: " + phase + " for %{x:.1f} s<extra></extra>",
        )

    def _words(self) -> str:
        phases = Counter(
            life.spans[-1].phase if life.spans[-1].end is None else "gone" for life in self._pods.values() if life.spans
        )
        counts = [f"{phases[phase]} {phase.lower()}" for phase in [*self.phases, "gone"] if phase in phases]
        restarts = [reason for life in self._pods.values() for _, reason in life.marks]
        again = f"; {len(restarts)} restarts ({', '.join(sorted(set(restarts)))})" if restarts else ""
        return f"{self._title}: {phases.total()} pods, {', '.join(counts)}{again}."


def _well(life: _Life) -> bool:
    """Whether nothing is to be seen of a life but that it lasts, or has ended well."""
    last = life.spans[-1] if life.spans else None
    return not life.marks and (last is None or last.end is not None or last.phase in ("Ready", "Completed"))


def _crosses(marks: list[tuple[str, datetime, str]], zero: datetime) -> go.Scatter:
    return go.Scatter(
        name="restart",
        mode="markers",
        x=[(at - zero).total_seconds() for _, at, _ in marks],
        y=[name for name, _, _ in marks],
        text=[reason for _, _, reason in marks],
        marker={"symbol": "x", "size": 11, "color": theme.VERMILION, "line": {"color": "white", "width": 1}},
        hovertemplate="%{y}: restarted, %{text}<extra></extra>",
    )


class NodeTimeline(PodTimeline):
    """The same of nodes."""

    phases: ClassVar = NODE_PHASES

    def _phase(self, item: Object) -> str:
        return node_phase_of(item)
