"""A model at zero replicas, woken by a request and asleep again: the way there and back in its parts."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import plotly.graph_objects as go

from .. import cluster as k8s
from ..cluster import Object, Ref, Selection, State
from ..cluster import explain as explaining
from ..cluster.stream import Events, Seen
from ..errors import RunbookError
from ..notebook import Notebook
from ..plots import theme
from ..tables import Table
from . import one_endpoint
from .observability import prometheus
from .served_models import Server

#: Moments in their order, each with what the time until it is spent on.
MOMENTS = {
    "asked": "",
    "woken": "the router holds the request; Prometheus scrapes it, KEDA looks and raises the replicas from 0",
    "scheduled": "a pod is made and gets a GPU; without a free one, a new node: minutes",
    "started": "the image is pulled, volumes are mounted",
    "ready": "the server loads its weights",
    "answered": "the router notices, and the answer is made",
    "idle": "nobody asks: the query's window, then the cooldown",
    "gone": "the pod ends and gives its GPU back",
}
_LOOKS = (
    (theme.GREY, ""),
    (theme.BLUE, "/"),
    (theme.SKY, "."),
    (theme.ORANGE, "x"),
    (theme.GREEN, ""),
    (theme.YELLOW, "."),
    (theme.PURPLE, "\\"),
)
_MARGIN_S = 240


@dataclass
class Wake:
    """What was seen. ``moments`` by the names of :data:`MOMENTS`, all by this machine's clock."""

    server: Server
    moments: dict[str, datetime] = field(default_factory=dict)
    answer: Object = field(default_factory=dict)
    error: RunbookError | None = None

    def note(self, moment: str, at: datetime) -> None:
        """The first time counts."""
        self.moments.setdefault(moment, at)

    def parts(self) -> dict[str, float]:
        """Seconds until each moment, from the one before."""
        pairs = itertools.pairwise(MOMENTS)
        return {name: (self.moments[name] - self.moments[before]).total_seconds() for before, name in pairs}

    def until(self, moment: str) -> float:
        """Seconds from the question."""
        return round((self.moments[moment] - self.moments["asked"]).total_seconds(), 1)


def cold(found: list[Server]) -> Server | None:
    """The first model that sleeps."""
    return next((server for server in found if server.cold), None)


def wake(book: Notebook, server: Server) -> Wake:
    """Ask a model at zero replicas, and watch until it has answered and sleeps again; notes the checks.

    Raises:
        RunbookError: the request failed, with the router's words.
        TimedOut: it doesn't wake, or doesn't go back; with the pods' troubles and KEDA's words.
    """
    _wait_asleep(book, server)
    found = Wake(server)
    asking = one_endpoint.endpoint(book, timeout=server.hold_seconds + 60)

    def ask(events: Events) -> None:
        try:
            found.answer = asking.json("v1/chat/completions", one_endpoint.question(server.served.names[0]))
            found.note("answered", datetime.now(UTC))
        except RunbookError as error:
            found.error = error
        events.wake()

    def take(event: Seen, events: Events) -> None:
        if "asked" not in found.moments:
            found.note("asked", datetime.now(UTC))
            threading.Thread(target=ask, args=(events,), daemon=True, name="ask").start()
        elif event.object:
            _note(found, event)

    def reached(state: State) -> bool:
        if found.error:
            raise found.error
        if "answered" not in found.moments:
            return False
        if asleep := _asleep(state):
            found.note("gone", datetime.now(UTC))
        return asleep

    _watch(book, server, "answers, and sleeps again", reached, take)
    book.check("a request for a model without a server waits, wakes it, and is answered", _whole(found.answer))
    book.check("the request was seen waiting by Prometheus", _seen_waiting(book, found))
    book.check("with nobody asking, the model went back to zero replicas", "idle" in found.moments)
    for name in ("woken", "ready", "answered", "gone"):
        book.figure(f"wake.{name}_s", found.until(name))
    return found


def _note(found: Wake, event: Seen) -> None:
    """The moments that this event shows."""
    item, status = event.object, event.object.get("status", {})
    if item["kind"] == "Deployment":
        replicas = item["spec"].get("replicas", 1)
        if replicas:
            found.note("woken", event.at)
        elif "answered" in found.moments:
            found.note("idle", event.at)
    elif item["kind"] == "Pod" and event.type != "DELETED":
        if item["spec"].get("nodeName"):
            found.note("scheduled", event.at)
        if any("running" in each.get("state", {}) for each in status.get("containerStatuses", ())):
            found.note("started", event.at)
        if k8s.is_true(item, "Ready"):
            found.note("ready", event.at)


def _whole(answer: Object) -> bool:
    return k8s.get_in(answer, "choices[0].finish_reason") in ("stop", "length")


def _seen_waiting(book: Notebook, found: Wake) -> bool:
    """Whether the router's gauge had the request in a sample."""
    name, namespace = found.server.served.model.name, book.params.platform.models_namespace
    seconds = max(1, round((found.moments["answered"] - found.moments["asked"]).total_seconds()) + 1)
    gauge = f'vllm_runbook_router_pending_requests{{namespace="{namespace}",model="{name}"}}'
    series = prometheus(book).query(f"sum(max_over_time({gauge}[{seconds}s]))", at=found.moments["answered"])
    return bool(series) and series[0].value >= 1


def _wait_asleep(book: Notebook, server: Server) -> None:
    _watch(book, server, "sleeps", _asleep)


def _asleep(state: State) -> bool:
    item = state.only("Deployment")
    return item is not None and item["spec"].get("replicas", 1) == 0 and not state.by_kind.get("Pod")


def _watch(book: Notebook, server: Server, what: str, reached: Any, on_event: Any = None) -> None:
    namespace = book.params.platform.models_namespace
    target, scaler = Ref("Deployment", server.name, namespace), Ref("ScaledObject", server.name, namespace)
    entry, scaling = server.served.entry, server.params.platform.autoscaling
    cooldown = scaling.scale_down_seconds if entry.cooldown_seconds is None else entry.cooldown_seconds

    def explain(state: State) -> str:
        lines = explaining.events_of(book.cluster, scaler, limit=4)
        return "\n".join([explaining.why(book.cluster, state.all("Pod"), target), *lines])

    k8s.wait(
        book.cluster,
        f"{target} {what}",
        [Selection.of(target), Selection("Pod", namespace, labels=server.pods)],
        reached,
        seconds=server.hold_seconds + cooldown + server.sizing.shutdown.grace_period_seconds + _MARGIN_S,
        on_event=on_event,
        explain=explain,
    )


def table(book: Notebook, found: Wake) -> Table:
    """The parts, and what decides them."""
    scale = book.params.platform.time_scale
    load = f" (load times / {scale:g} here)" if scale != 1 else ""
    rows = [
        (name, f"{seconds:.1f} s", MOMENTS[name] + (load if name == "ready" else ""))
        for name, seconds in found.parts().items()
    ]
    return Table(("until", "took", "what happened"), rows)


def figure(book: Notebook, found: Wake) -> go.Figure:
    """One bar from the question to sleep."""
    scale = book.params.platform.time_scale
    unit = "s" if scale == 1 else f"s; load times / {scale:g}"
    parts = found.parts()
    traces = [
        go.Bar(
            name=name,
            orientation="h",
            y=[found.server.served.model.name],
            x=[seconds],
            marker={"color": colour, "pattern": {"shape": shape, "solidity": 0.3}},
            hovertemplate=f"{MOMENTS[name]}: %{{x:.1f}} s<extra></extra>",
        )
        for (name, seconds), (colour, shape) in zip(parts.items(), _LOOKS, strict=True)
    ]
    title = f"Answered {found.until('answered'):g} s after it was asked at zero replicas; asleep again after that"
    told = ", ".join(f"until {name} {seconds:.1f} s" for name, seconds in parts.items())
    words = f"{title}. {told}."
    return theme.figure(title, f"time since the request ({unit})", "", words, traces, barmode="stack", height=260)
