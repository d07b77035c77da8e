"""Interruptions under load: both designs at once, on nodes that go by the same rules at the same moment."""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import plotly.graph_objects as go

from .. import cluster as k8s
from ..cluster import Hopeless, Selection, State
from ..notebook import Notebook
from ..plots import Recorder, story_figure
from ..tables import Table
from . import disruption, experiment, spot, trials
from .experiment import Experiment
from .interruption import UNANNOUNCED, Interruption
from .load import Load, Target
from .observability import prometheus

#: Seconds of load after a loss that nobody announced: until the node controller has noticed, and then the recovery.
_UNNOTICED_SECONDS = 60
#: That all may take beyond the load: a node, its plugin and a server's start, on real clusters, too.
_PATIENCE = 1200


@dataclass
class Row:
    """One design in one interruption."""

    cloud: str
    design: str
    trial: Experiment
    began: datetime
    wanted: int

    @property
    def recovery_seconds(self) -> float:
        """From the interruption until as many replicas were ready as before, for good."""
        return recovery(self.trial.ready, self.wanted, self.began)

    @property
    def lost_replica_seconds(self) -> float:
        """Missing replicas, summed over the time they were missing."""
        return missing(self.trial.ready, self.wanted, self.began)


@dataclass
class Pair(Recorder):
    """The trials of one interruption, drawn into one figure."""

    cloud: str
    trials: Sequence[Experiment]
    names: Sequence[str]
    rows: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        for each in self.trials:
            each.subscribe(self.changed)

    def figure(self) -> go.Figure:
        """Both designs and the nodes, on one time axis."""
        stories = [trial.story(name) for trial, name in zip(self.trials, self.names, strict=True)]
        return story_figure(stories, f"A spot node goes: {self.cloud}")


def rows_of(pairs: Sequence[Pair]) -> list[Row]:
    """Every design of every interruption."""
    return [row for both in pairs for row in both.rows]


def pair(book: Notebook, cloud: str, designs: Sequence[tuple[str, Target]], load: Load) -> Pair:
    """The trials of one interruption, ours last."""
    seconds = load.seconds if cloud != UNANNOUNCED else max(load.seconds, _UNNOTICED_SECONDS)
    asked = dataclasses.replace(load, seconds=seconds)
    made = [trials.of(book, f"spot-{cloud}-{name}", target, asked) for name, target in designs]
    return Pair(cloud, made, [name for name, _ in designs])


def interrupt(book: Notebook, both: Pair, interruption: Interruption) -> None:
    """Load on every target; after some seconds of it the nodes go; until the load is over and all is back.

    Raises:
        Hopeless, TimedOut: as :func:`.experiment.run`.
    """
    *others, last = both.trials
    failed: list[BaseException] = []

    def act() -> None:
        both.rows = [
            Row(both.cloud, name, trial, datetime.now(UTC), trial.ready[-1][1] if trial.ready else 0)
            for trial, name in zip(both.trials, both.names, strict=True)
        ]
        for trial in both.trials:
            trial.mark(f"{both.cloud}: the node goes")
        interruption.begin(wake)

    def wake() -> None:
        for trial in both.trials:
            trial.wake()

    def settled(trial: Experiment) -> Callable[[State], bool]:
        def reached(state: State) -> bool:
            return bool(both.rows) and interruption.done(state) and disruption.full(state, trial.target)

        return reached

    def beside(trial: Experiment) -> None:
        try:
            experiment.run(book, trial, settled=settled(trial), also=[_nodes(book)], seconds=_PATIENCE)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=beside, args=(trial,), name=trial.load.name) for trial in others]
    for thread in threads:
        thread.start()
    try:
        experiment.run(
            book, last, act=act, act_after=trials.SETTLE, settled=settled(last), also=[_nodes(book)], seconds=_PATIENCE
        )
    finally:
        for thread in threads:
            thread.join()
    if failed:
        raise failed[0]
    for trial in both.trials:
        experiment.add_queue(trial, prometheus(book))


def _nodes(book: Notebook) -> Selection:
    return Selection("Node", labels=spot.selector(book))


def figures(book: Notebook, both: Pair) -> None:
    """Note the figures of each design."""
    for row in both.rows:
        group = f"spot.{row.cloud}.{row.design}"
        experiment.figures(book, row.trial, group)
        book.figure(f"{group}.recovery_s", round(row.recovery_seconds, 1))


def arrive(book: Notebook, trial: Experiment) -> None:
    """Load from zero replicas on spot until the first of them is ready, on a node that had to come.

    Raises:
        Hopeless: the load was too small for KEDA to ask.
        TimedOut: no node came, or its server didn't start.
    """

    def settled(state: State) -> bool:
        item = state.by_kind.get("Deployment", {}).get(f"{trial.target.namespace}/{trial.target.deployment}") or {}
        if not k8s.get_in(item, "spec.replicas", 1):  # the load is over; what was asked for stays for a while
            peak = max(sample["in_flight"] for sample in trial.report.samples)
            raise Hopeless(
                "KEDA asked for nothing on spot",
                why=f"the load had {peak} requests in the system at most, and the floor may have that many",
                next_step="Raise the rate, or lower autoscaling.concurrency_per_replica.",
            )
        return bool(item.get("status", {}).get("readyReplicas"))

    experiment.run(book, trial, settled=settled, also=[_nodes(book)], seconds=_PATIENCE)
    experiment.add_queue(trial, prometheus(book))


def arrival(book: Notebook, trial: Experiment) -> Table:
    """How long each part of it took; noted as figures, and the checks."""
    zero = trial.report.began or datetime.now(UTC)
    asked = next((at for at, count in trial.replicas if count and at >= zero), None)
    lives = [spans for spans in trial.nodes.lives().values() if spans and spans[0].start > zero]
    book.check("KEDA asked for replicas on spot", asked is not None)
    book.check("a node came for them", bool(lives), "none had to come: there was room on those that are there")
    if asked is None or not lives:
        return Table(("part", "seconds"), [])
    first = min(lives, key=lambda spans: spans[0].start)
    joined = next((span.start for span in first if span.phase == "Ready"), first[-1].start)
    served = trial.moments("Ready")[0]
    moments = (zero, asked, first[0].start, joined, served)
    rows = []
    for (name, words), (start, end) in zip(_ARRIVAL.items(), itertools.pairwise(moments), strict=True):
        seconds = round(max(0.0, (end - start).total_seconds()), 1)
        book.figure(f"spot.arrival.{name}_s", seconds)
        rows.append((words, seconds))
    book.figure("spot.arrival.total_s", round((served - zero).total_seconds(), 1))
    return Table(("part", "seconds"), rows)


_ARRIVAL = {
    "keda": "from the first request until KEDA asks for a replica",
    "node": "until there is a node for it",
    "join": "until the node is ready",
    "load": "until device plugin, scheduler and server are",
}


def patient(book: Notebook, cloud: str, rate: float, tokens: int) -> Pair:
    """Ours alone, with clients that try again; long answers come at a rate that one replica carries."""
    slow = tokens > _LONG_TOKENS
    load = Load("spot", min(rate, 2) if slow else rate, 30, 128, tokens, retries=_RETRIES, retry_cut=True)
    found = pair(book, cloud, [("ours", spot.target(book))], load)
    found.names = ["ours, clients that retry"]
    return found


_LONG_TOKENS = 512
_RETRIES = 8  # with the pauses of the openai client: up to three quarters of a minute


def retried(pairs: Sequence[Pair]) -> Table:
    """What was lost on the server's side, and what was left of that for those who asked."""
    rows = []
    for row in rows_of(pairs):
        total = row.trial.report.total
        counts = (total("sent"), total("retried"), total("dropped"))
        rows.append((row.cloud, row.trial.load.output_tokens, *counts))
    return Table(("interruption", "tokens per answer", "sent", "attempts that failed", "lost to the caller"), rows)


def table(pairs: Sequence[Pair]) -> Table:
    """One row per cloud and design."""
    rows = []
    for row in rows_of(pairs):
        total = row.trial.report.total
        reasons, late = trials.how_lost(row.trial), trials.ttft_p99(row.trial)
        recovered = f"{row.recovery_seconds:.0f} s"
        counts = (total("sent"), total("dropped"), total("rejected"))
        rows.append((row.cloud, row.design, *counts, recovered, late, reasons))
    columns = ("interruption", "design", "sent", "dropped", "rejected", "full again after", "TTFT p99", "how lost")
    return Table(columns, rows)


#: Reasons of the condition DisruptionTarget, and whether a budget is asked before.
_ASKED = {
    "EvictionByEvictionAPI": "yes: an eviction",
    "TerminationByKubelet": "no: the node shuts down",
    "DeletionByTaintManager": "no: the node was not ready for too long",
    "DeletionByPodGC": "no: the node is gone",
    "PreemptionByScheduler": "best effort: a pod of higher priority needs the room",
}


def budgets(pairs: Sequence[Pair]) -> Table:
    """Which pods went, why in Kubernetes' own word, and whether their PodDisruptionBudget had a say."""
    rows: list[tuple[str, str, int, str, str]] = []
    for row in rows_of(pairs):
        reasons = [reason for _, _, reason in row.trial.disrupted]
        for reason in dict.fromkeys(reasons):
            asked = _ASKED.get(reason, "")
            rows.append((row.cloud, row.design, reasons.count(reason), reason, asked))
        if not reasons:
            rows.append((row.cloud, row.design, 0, "(none said)", "no: nobody was there to ask"))
    return Table(("interruption", "design", "pods", "DisruptionTarget", "was the budget asked?"), rows)


def recovery(ready: Sequence[tuple[datetime, int]], wanted: int, since: datetime) -> float:
    """Seconds from ``since`` until ``wanted`` replicas were ready for good; 0 if it never had fewer.

    Args:
        ready: (when, how many) at each change.

    Raises:
        ValueError: it never had so many again.
    """
    below = [index for index, (at, count) in enumerate(ready) if at >= since and count < wanted]
    if not below:
        return 0.0
    if below[-1] + 1 >= len(ready):
        raise ValueError(f"never again {wanted} ready replicas")
    return (ready[below[-1] + 1][0] - since).total_seconds()


def missing(ready: Sequence[tuple[datetime, int]], wanted: int, since: datetime) -> float:
    """Replica-seconds that were missing from ``since`` on."""
    total, steps = 0.0, [pair for pair in ready if pair[0] >= since]
    for (at, count), (until, _) in itertools.pairwise(steps):
        total += max(0, wanted - count) * (until - at).total_seconds()
    return total
