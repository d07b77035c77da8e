"""The experiments of notebooks 05 to 07: what is done to a Deployment under load, and what counts as its end."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

from ..cluster import ApiError, Object, ServiceProxy, State
from ..notebook import Notebook
from ..tables import Table
from . import autoscaling, deploy, disruption, experiment
from .experiment import Experiment
from .load import Load, Target
from .observability import prometheus

#: Seconds of load before something is done to its target: long enough that the batches are full.
SETTLE = 6


def burst(book: Notebook, trial: Experiment) -> None:
    """Nothing but the load."""
    experiment.run(book, trial)
    experiment.add_queue(trial, prometheus(book))


def update(book: Notebook, trial: Experiment, item: Object) -> None:
    """Replace the Deployment by ``item``, a new version, in the middle of the load."""

    def act() -> None:
        trial.mark("update begins")
        book.put(item)

    _run(book, trial, act)


def delete(book: Notebook, trial: Experiment) -> None:
    """Delete one pod in the middle of the load."""

    def act() -> None:
        trial.mark("pod deleted")
        disruption.delete_one(book, trial.target)

    _run(book, trial, act)


def drain(book: Notebook, trial: Experiment) -> disruption.Drain:
    """Drain the node with most of the target's pods in the middle of the load; afterwards pods may come back.

    Returns the finished drain, with its exit code and output.
    """
    work = disruption.Drain(book, trial.target)

    def ended() -> None:
        trial.mark("drained")
        trial.wake()

    def act() -> None:
        trial.mark(f"drain of {work.node} begins")
        work.begin(ended)

    try:
        _run(book, trial, act, lambda: work.code is not None)
    finally:
        work.undo()
    return work


def _run(book: Notebook, trial: Experiment, act: Callable[[], None], done: Callable[[], bool] = lambda: True) -> None:
    """Until the load is over and every replica is back, of one version."""

    def settled(state: State) -> bool:
        return done() and disruption.full(state, trial.target)

    experiment.run(book, trial, act=act, act_after=SETTLE, settled=settled)
    experiment.add_queue(trial, prometheus(book))


def of(book: Notebook, name: str, target: Target, load: Load) -> Experiment:
    """A trial of ``load`` on ``target`` under a name of its own."""
    return Experiment(book, dataclasses.replace(load, name=name), target)


def compare(first: Experiment, second: Experiment) -> Table:
    """Two trials of the same load, measure by measure."""
    rows: list[tuple[Any, ...]] = []
    for name in ("sent", "complete", "dropped", "rejected"):
        rows.append((name, first.report.total(name), second.report.total(name)))
    for name, words in (("ttft_seconds", "TTFT"), ("e2e_seconds", "whole answer")):
        for part in ("p50", "p99"):
            values = [each.report.result.get(name, {}).get(part) for each in (first, second)]
            rows.append((f"{words} {part}", *(f"{value:.2f} s" if value is not None else "" for value in values)))
    rows.append(("most replicas", *(max(count for _, count in each.replicas) for each in (first, second))))
    for each in (first, second):
        if each.report.result.get("client", {}).get("limited"):
            rows.append((f"{each.load.name}: the load generator itself was late", "", ""))
    return Table(("", first.load.name, second.load.name), rows)


def losses(trials: Sequence[Experiment]) -> Table:
    """What each trial lost, and how."""
    rows = []
    for each in trials:
        total = each.report.total
        reasons, late = how_lost(each), ttft_p99(each)
        rows.append((each.load.name, total("sent"), total("dropped"), total("rejected"), reasons, late))
    return Table(("trial", "sent", "dropped", "rejected", "how", "TTFT p99"), rows)


def how_lost(trial: Experiment) -> str:
    """What was lost, by its reasons, in words."""
    return ", ".join(f"{count} {name}" for name, count in trial.report.result.get("reasons", {}).items())


def ttft_p99(trial: Experiment) -> str:
    """The 99th percentile of the time to first token, in words; empty where nothing was complete."""
    value = trial.report.result.get("ttft_seconds", {}).get("p99")
    return "" if value is None else f"{value:.2f} s"


def measure_zero(book: Notebook) -> Table:
    """Hold the Deployment at zero, ask, and take the time from letting go to the first answer; notes the figure."""
    autoscaling.pause(book, 0)
    refusal = ""
    try:
        ServiceProxy(book.cluster, book.namespace, deploy.SERVICE, deploy.PORT).text("health")
    except ApiError as error:
        refusal = error.message
    began = time.monotonic()
    autoscaling.pause(book, 1)
    deploy.server(book).text("v1/models")
    waited = round(time.monotonic() - began, 1)
    autoscaling.resume(book)
    autoscaling.wait_ready(book)
    book.figure("scale_to_zero.first_answer_s", waited)
    book.check("at zero replicas a caller is refused, and served again after a whole start", bool(refusal))
    scale = book.params.platform.time_scale
    note = f" (load times / {scale:g} here)" if scale != 1 else ""
    start = book.sizing.startup.load_seconds
    rows = [
        ("a caller at zero replicas", refusal),
        ("from the decision to the first answer", f"{waited} s{note}"),
        ("on real hardware", f"{start:.0f} s estimated, and a new node's minutes if the GPU node went away, too"),
    ]
    return Table(("scale to zero", "what it costs"), rows)
