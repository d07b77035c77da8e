"""What became of a new version: its steps in numbers, what it cost, and what is left."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import plotly.graph_objects as go

from .. import cluster as k8s
from ..notebook import Notebook
from ..params.canary import Canary
from ..plots import canary_figure
from ..tables import Table
from . import canary, experiment
from .canary_gates import FAIL, PASS
from .canary_walk import PROMOTED, Walk
from .experiment import Experiment


def table(walk: Walk) -> Table:
    """Every gate of every step, with its numbers."""
    rows: list[tuple[object, ...]] = []
    for step in walk.steps:
        for number, each in enumerate(step.decision.findings):
            first = step.name if number == 0 else ""
            rows.append((first, each.gate, each.canary, each.stable, each.limit, each.verdict))
        first = "" if step.decision.findings else step.name
        rows.append((first, "golden prompts", step.golden or "right", "", "all right", FAIL if step.golden else PASS))
    return Table(("step", "gate", "canary", "stable", "limit", "verdict"), rows, walk.outcome)


def figure(walk: Walk) -> go.Figure:
    """Time to first token of both versions, by step."""
    rows = [(each.name, each.canary.quantile(0.95), each.stable.quantile(0.95)) for each in walk.steps]
    return canary_figure(rows, f"Time to first token by step: {walk.outcome or 'under way'}")


def conclude(book: Notebook, walk: Walk, trial: Experiment | None = None) -> None:
    """Note figures and checks: what became of the version, and what it cost.

    Args:
        trial: the load meanwhile, if there was one.
    """
    for step in walk.steps:
        book.figure(f"canary.step_{step.weight}.requests", step.canary.requests)
    if walk.outcome:
        book.figure("canary.steps", len(walk.steps))
        book.check("the new version holds at every step, and is promoted", walk.outcome == PROMOTED, walk.why)
    if trial is not None and walk.steps:
        _cost(book, walk, trial)
    walk.take_back()
    if walk.outcome == PROMOTED and not walk.settings.rehearse:
        print(_to_keep(walk.settings))
    _rest(book, walk)


def _cost(book: Notebook, walk: Walk, trial: Experiment) -> None:
    """A version that is rolled back may have touched the canary's share of each step's requests, a good one none."""
    experiment.figures(book, trial, "canary")
    count = trial.report.total
    sent, dropped, late = count("sent"), count("dropped"), int(trial.report.result.get("late", 0))
    affected = dropped + count("rejected") + late
    most = 0 if walk.outcome == PROMOTED else share_of(walk, trial)
    book.figure("canary.share", most)
    book.figure("canary.late", late)
    book.figure("canary.affected", affected)
    reasons = f"{affected} of {sent}, its share {most}: {trial.report.result.get('reasons')}, {late} late"
    book.check("no more requests were touched than the canary's share", affected <= most, reasons)
    if walk.outcome == PROMOTED:
        book.check("no request was dropped on the way", not dropped, reasons)


def share_of(walk: Walk, trial: Experiment) -> int:
    """The most requests that the canary's shares come to, by the load's own count of what it sent in each step.

    With three standard deviations more: a gateway may draw lots for each request.
    """
    shares = {step.name: step.weight / 100 for step in walk.steps}
    ends = [at for at, _ in trial.marks[1:]] + [datetime.now(UTC)]
    began = trial.report.began or datetime.now(UTC)
    expected = variance = 0.0
    for (start, words), end in zip(trial.marks, ends, strict=True):
        for sample in trial.report.samples if words in shares else ():
            last = began + timedelta(seconds=sample["second"])
            if start < last and last - timedelta(seconds=1) < end:
                expected += sample["sent"] * shares[words]
                variance += sample["sent"] * shares[words] * (1 - shares[words])
    return math.ceil(expected + 3 * math.sqrt(variance))


def _rest(book: Notebook, walk: Walk) -> None:
    """The route is at rest, and the canary away unless it is to be looked at."""
    kept = walk.settings.keep and walk.outcome != PROMOTED
    items = canary.route(book.params, book.sizing, 0 if kept and walk.outcome else None)
    book.check("all traffic goes to the stable Service", not book.plan(items), "the route isn't at rest")
    if kept:
        return
    found = [book.cluster.find(ref) for ref in canary.refs(canary.objects(book.params, book.sizing))]
    there = [k8s.ref_of(item) for item in found if item and not item["metadata"].get("deletionTimestamp")]
    book.check("the canary is gone", not there, ", ".join(map(str, there)))


def _to_keep(chosen: Canary) -> str:
    """What the parameters need, so that notebook 04 doesn't take the version back."""
    wanted = {"images.vllm": chosen.image, "the model's extra_args": " ".join(chosen.args)}
    wanted["the weights' directory"] = chosen.model_path
    return "put it into the parameters: " + ", ".join(f"{name} {value}" for name, value in wanted.items() if value)
