"""One experiment: load on a server, something done to it meanwhile, and everything that was seen of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import plotly.graph_objects as go

from .. import cluster as k8s
from ..cluster import Hopeless, Object, Ref, Selection, State
from ..cluster import explain as explaining
from ..cluster.stream import Events, Seen
from ..notebook import Notebook
from ..plots import NodeTimeline, PodTimeline, Recorder
from ..plots.story import Story, story_figure
from ..prometheus import Prometheus
from . import load as loads
from .load import Load, Target

#: Where the figures of finished experiments are kept for the notebooks that compare them.
MEASUREMENTS = "runbook-measurements"
_MEASUREMENTS_MANAGER = "vllm-runbook-measurements"
#: Time for the generator's own pod, and for the answers in flight at its end.
_PATIENCE_SECONDS = 300

Act = Callable[[], None]
Settled = Callable[[State], bool]


class Experiment(Recorder):
    """What is seen while a load runs; draws itself.

    Attributes:
        report: what the load generator tells.
        timeline: the target's pods.
        ready: (when, how many pods are ready), at each change.
        replicas: (when, spec.replicas), at each change.
        ends: containers that ended meanwhile, each with its reason: ``OOMKilled``, ``Error`` …
        marks: what was done, and when.
        nodes: lives of the nodes that were watched, too.
        disrupted: (when, pod, reason of its condition DisruptionTarget), as Kubernetes gives it.
    """

    def __init__(self, book: Notebook, load: Load, target: Target) -> None:
        super().__init__()
        self.load, self.target = load, target
        self.report = loads.Report()
        self.timeline = PodTimeline(f"Pods of {target.ref}", book.params.platform.time_scale)
        self.ready: list[tuple[datetime, int]] = []
        self.replicas: list[tuple[datetime, int]] = []
        self.ends: list[tuple[datetime, str]] = []
        self.marks: list[tuple[datetime, str]] = []
        self.nodes = NodeTimeline("Nodes")
        self.disrupted: list[tuple[datetime, str, str]] = []
        self.waiting: list[tuple[datetime, float]] = []
        self._follower = loads.Follower(f"load-{load.name}", self._line)
        self._known_ends: set[tuple[str, str, str]] = set()
        self._known_disrupted: set[str] = set()
        self._there: set[str] = set()
        self._ready: set[str] = set()
        self._new: set[str] = set()
        self._events: Events | None = None
        self._moments: dict[tuple[str, str], datetime] = {}

    def mark(self, words: str) -> None:
        """Note that something is done now."""
        self.marks.append((datetime.now(UTC), words))

    def wake(self) -> None:
        """Let :func:`run` judge again; for whatever ends outside the cluster."""
        if self._events is not None:
            self._events.wake()

    @property
    def oom_killed(self) -> int:
        """Containers that the kernel ended for their memory."""
        return sum(reason == "OOMKilled" for _, reason in self.ends)

    def moments(self, condition: str) -> list[datetime]:
        """When each pod that is new since the load began first had a condition (PodScheduled, Ready)."""
        return sorted(at for (_, kind), at in self._moments.items() if kind == condition)

    # -- events --------------------------------------------------------------------------------

    def take(self, event: Seen, events: Events) -> None:
        """One event of the wait."""
        self._events = events
        self._follower.take(event, events)
        item = event.object
        if item.get("kind") == "Pod" and "batch.kubernetes.io/job-name" not in item["metadata"].get("labels", {}):
            self._pod(event)
        elif item.get("kind") == "Node":
            self.nodes.record(event.at, item, deleted=event.type == "DELETED")
            self.changed()
        elif item.get("kind") == "Deployment" and item["metadata"]["name"] == self.target.deployment:
            _note(self.replicas, event.at, item["spec"].get("replicas", 1))

    def _line(self, line: str) -> None:
        if self.report.take(line):
            self.changed()

    def _pod(self, event: Seen) -> None:
        pod, uid = event.object, event.object["metadata"]["uid"]
        first, deleted = uid not in self._there, event.type == "DELETED"
        self.timeline.record(event.at, pod, deleted=deleted)
        _update(self._there, uid, not deleted)
        _update(self._ready, uid, not deleted and k8s.is_true(pod, "Ready") and not _leaving(pod))
        if first and event.type == "ADDED" and self.report.samples:
            self._new.add(uid)
        for condition in ("PodScheduled", "Ready"):
            if uid in self._new and k8s.is_true(pod, condition):
                self._moments.setdefault((uid, condition), event.at)
        why, name = k8s.condition(pod, "DisruptionTarget"), pod["metadata"]["name"]
        if why.get("status") == "True" and self.report.samples and name not in self._known_disrupted:
            self._known_disrupted.add(name)
            self.disrupted.append((event.at, name, why.get("reason", "")))
        for status in k8s.get_in(pod, "status.containerStatuses", ()):
            for which in ("lastState", "state"):
                self._ended(event.at, uid, status, which, before=first and which == "lastState")
        _note(self.ready, event.at, len(self._ready))
        self.changed()

    def _ended(self, at: datetime, uid: str, status: Object, which: str, *, before: bool) -> None:
        """Note the end of a container once; what had ended ``before`` we looked is none of this experiment."""
        ended = k8s.get_in(status, f"{which}.terminated")
        if not ended:
            return
        key = (uid, status["name"], ended.get("finishedAt", ""))
        if key not in self._known_ends:
            self._known_ends.add(key)
            if not before:
                self.ends.append((at, ended.get("reason", "Error")))

    # -- drawing -------------------------------------------------------------------------------

    def story(self, name: str = "") -> Story:
        """The experiment in numbers, on a time axis that begins with the load."""
        zero = self.report.began or datetime.now(UTC)

        def since(at: datetime) -> float:
            return round((at - zero).total_seconds(), 2)

        before = [pair for pair in self.ready if pair[0] <= zero][-1:]
        after = [pair for pair in self.ready if pair[0] > zero]
        lives = [
            (name, span.phase, max(0.0, since(span.start)), since(span.end or datetime.now(UTC)))
            for name, spans in self.nodes.lives().items()
            for span in spans
        ]
        kills = [(at, reason) for at, reason in self.ends if reason == "OOMKilled"]
        return Story(
            name=name or self.load.name,
            samples=self.report.samples,
            ready=[(since(at), count) for at, count in [*before, *after]],
            waiting=[(since(at), value) for at, value in self.waiting],
            marks=[(since(at), words) for at, words in [*self.marks, *kills]],
            nodes=[life for life in lives if life[3] > 0],
        )

    def figure(self) -> go.Figure:
        """Rate, queue, replicas and drops so far."""
        return story_figure([self.story()], f"{self.load.rate:g} requests per second on {self.target.ref}")


def _note(series: list[tuple[datetime, int]], at: datetime, value: int) -> None:
    if not series or series[-1][1] != value:
        series.append((at, value))


def _update(uids: set[str], uid: str, belongs: bool) -> None:
    if belongs:
        uids.add(uid)
    else:
        uids.discard(uid)


def _leaving(pod: Object) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def run(
    book: Notebook,
    experiment: Experiment,
    *,
    act: Act | None = None,
    act_after: float = 8,
    settled: Settled | None = None,
    also: Sequence[Selection] = (),
    seconds: float = _PATIENCE_SECONDS,
) -> None:
    """Put the load on the target, do ``act`` after some seconds of it, and watch until both are over.

    The generator's Job is made for this and removed again.

    Args:
        act: is called once, and must not wait for anything.
        settled: whether what ``act`` began has come to its end.
        also: more to watch: nodes.
        seconds: that all may take beyond the load itself.

    Raises:
        Hopeless: the generator can't run.
        TimedOut: with the troubles of the target's pods.
    """
    loads.require_allowed(book)
    item, target = loads.job(book, experiment.load, experiment.target), experiment.target
    job = k8s.ref_of(item)
    _remove(book, job)
    acted: list[bool] = []

    def reached(state: State) -> bool:
        if act is not None and not acted and len(experiment.report.samples) >= act_after:
            acted.append(True)
            act()
        if k8s.is_true(state.only("Job"), "Failed") or experiment.report.result.get("interrupted"):
            pods = [pod for pod in state.all("Pod") if pod["metadata"]["name"].startswith(job.name)]
            raise Hopeless(f"{job}: the load generator failed", why=explaining.why(book.cluster, pods))
        over = bool(experiment.report.result) and (act is None or bool(acted))
        return over and (settled is None or settled(state))

    selections = [
        Selection.of(job),
        Selection("Pod", job.namespace, labels=f"batch.kubernetes.io/job-name={job.name}"),
        Selection("Pod", target.namespace, labels=target.pods),
        Selection.of(target.ref),
        *also,
    ]
    k8s.apply(book.cluster, book.plan([item]))
    try:
        k8s.wait(
            book.cluster,
            f"{job} and what was done meanwhile are over",
            selections,
            reached,
            seconds=experiment.load.seconds + seconds,
            on_event=experiment.take,
            explain=lambda state: explaining.why(book.cluster, state.all("Pod"), target.ref),
        )
    finally:
        _remove(book, job)


def _remove(book: Notebook, job: Ref) -> None:
    item = book.cluster.find(job)
    if item is not None and k8s.is_ours(item):
        k8s.delete(book.cluster, [(job, item["metadata"]["uid"])])


def add_queue(experiment: Experiment, asked: Prometheus) -> None:
    """Add the servers' own queue from Prometheus: requests that wait, every second of the experiment."""
    if experiment.report.began is None:
        return
    query = f'sum(vllm:num_requests_waiting{{namespace="{experiment.target.namespace}"}})'
    for series in asked.range(query, experiment.report.began, datetime.now(UTC), 1):
        experiment.waiting = list(series.points)


def figures(book: Notebook, experiment: Experiment, group: str) -> None:
    """Note the counts for summary.json as ``<group>.sent`` and so on."""
    report = experiment.report
    for name in ("sent", "complete", "dropped", "rejected"):
        book.figure(f"{group}.{name}", report.total(name))
    book.figure(f"{group}.oom_killed", experiment.oom_killed)
    for name in ("ttft_seconds", "itl_seconds", "e2e_seconds"):
        for part in ("p50", "p99"):
            value = report.result.get(name, {}).get(part)
            if value is not None:
                book.figure(f"{group}.{name.removesuffix('_seconds')}_{part}_s", round(value, 3))


def keep(book: Notebook, story: Story) -> None:
    """Keep a story in the cluster, for the notebook that draws it beside another one."""
    meta: dict[str, Any] = {"name": MEASUREMENTS, "namespace": book.namespace}
    live = book.cluster.find(Ref("ConfigMap", MEASUREMENTS, book.namespace))
    data = {**((live or {}).get("data") or {}), story.name: json.dumps(story.plain(), separators=(",", ":"))}
    item: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}
    book.put(item)


def kept(book: Notebook, name: str) -> Story | None:
    """A story that was kept, or None."""
    live = book.cluster.find(Ref("ConfigMap", MEASUREMENTS, book.namespace))
    text = ((live or {}).get("data") or {}).get(name)
    return Story.of(json.loads(text)) if text else None
