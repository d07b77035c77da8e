"""The experiments of notebooks 05 to 07: what is done to a Deployment under load, and what counts as its end."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from ..cluster import Object, State
from ..notebook import Notebook
from . import disruption, experiment, rollout
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
        rollout.put(book, item)

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
