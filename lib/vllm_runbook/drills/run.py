"""A drill from its beginning to its end: start, hint, check, reset."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from .. import cluster as k8s
from ..cluster import ApiError, Object, Ref, State
from ..cluster.ownership import step_of
from ..errors import RunbookError
from ..notebook import Notebook
from ..steps import deploy
from . import catalogue, exact, record, solving
from .drill import Act, Change, Create, Delete, Drill, Goal, Replace, Until
from .goals import SERVED
from .record import Record

#: Patience with a healthy cluster, with a symptom, and with the controllers after a mend that was right.
_HEALTHY_SECONDS, _SYMPTOM_SECONDS, CHECK_SECONDS = 60.0, 120.0, 30.0


@dataclass(frozen=True)
class Outcome:
    """What a check found.

    Attributes:
        missing: what doesn't hold yet; nothing when the drill is solved.
        seconds: since the start, until it was solved or until now.
    """

    drill: Drill
    missing: tuple[str, ...]
    seconds: float

    @property
    def solved(self) -> bool:
        return not self.missing


def running(book: Notebook) -> Record | None:
    """The drill that is under way."""
    return record.find(book.cluster, book.namespace)


def start(book: Notebook, name: str) -> Drill:
    """Break it, and watch until the symptom shows.

    Raises:
        RunbookError: there is no such drill, the platform doesn't allow or offer it, another one is under way, or
            the namespace isn't healthy.
    """
    drill = catalogue.named(name)
    _require(book, drill)
    acts = drill.acts(book)
    touched = [act.ref for act in acts if not isinstance(act, Until)]
    before = tuple((ref, exact.taken(book.cluster, ref)) for ref in dict.fromkeys(touched))
    _require_ours(acts, dict(before))
    kept = Record(name, datetime.now(UTC), before)
    record.begin(book.cluster, book.namespace, kept, book.step)
    for act in acts:
        _do(book, act)
    _wait(book, f"{drill.title}: the symptom shows", drill.shows, _SYMPTOM_SECONDS)
    record.update(book.cluster, book.namespace, replace(kept, started=datetime.now(UTC)))
    return drill


def _require(book: Notebook, drill: Drill) -> None:
    platform = book.params.platform
    if not platform.rehearsal.drills:
        raise RunbookError(
            f"Drills are off on {platform.title}",
            why="rehearsal.drills is false there: nothing is broken on purpose on a cluster that serves somebody",
            next_step="The sandbox allows them: --platform sandbox.",
        )
    if now := running(book):
        raise RunbookError(
            f"The drill {now.drill} is under way, for {now.seconds():.0f} s already",
            next_step="End it first: runbook drill check, then runbook drill reset.",
        )
    if drill.needs == "06" and not _has_autoscaler(book):
        raise RunbookError(f"The drill {drill.name} needs the autoscaler", next_step=_run_to(book, drill.needs))
    try:
        _wait(book, "the server serves", SERVED, _HEALTHY_SECONDS if _exists(book) else 1)
        _ask(book)
    except (RunbookError, ApiError) as error:
        raise RunbookError(
            f"{book.namespace} isn't healthy: a drill begins with a server that serves",
            why=error.why or error.what,
            next_step=_run_to(book, drill.needs),
        ) from error
    if lacking := drill.lacks(book):
        raise RunbookError(f"The drill {drill.name} can't be done on {platform.title}", why=f"it lacks {lacking}")


def _exists(book: Notebook) -> bool:
    return book.cluster.find(Ref("Deployment", deploy.DEPLOYMENT, book.namespace)) is not None


def _has_autoscaler(book: Notebook) -> bool:
    from ..steps import autoscaling

    try:
        autoscaling.require_autoscaler(book)
    except RunbookError:
        return False
    return True


def _run_to(book: Notebook, notebook: str) -> str:
    return f"runbook run --to {notebook} --platform {book.params.platform.name} --model {book.params.model.name}"


def _require_ours(acts: list[Act], before: dict[Ref, Object | None]) -> None:
    """Only what this runbook made is broken; of a node only what the drill itself sets, or our label."""
    for act in acts:
        if isinstance(act, Until):
            continue
        live = before[act.ref]
        if isinstance(act, Create) and live is not None:
            raise RunbookError(f"{act.ref} exists already", why="the drill would make it", next_step="Remove it first.")
        if isinstance(act, Create) or act.ref.kind == "Node":
            continue
        if live is None or not k8s.is_ours(live):
            why = "it isn't there" if live is None else "this runbook didn't create it"
            raise RunbookError(f"The drill can't touch {act.ref}", why=why)


def _do(book: Notebook, act: Act) -> None:
    match act:
        case Create():
            book.put(act.item)
        case Change():
            exact.put(book.cluster, k8s.changed(book.cluster.get(act.ref), act.fields))
        case Delete():
            k8s.delete(book.cluster, list(_there(book, act.ref)))
        case Replace():
            k8s.delete(book.cluster, list(_there(book, act.ref)))
            book.put(act.item)
        case Until():
            _wait(book, act.what, act.goal, act.seconds)


def _there(book: Notebook, ref: Ref) -> Iterator[tuple[Ref, str]]:
    if item := book.cluster.find(ref):
        yield ref, item["metadata"]["uid"]


def _wait(book: Notebook, what: str, goal: Goal, seconds: float) -> None:
    def explain(state: State) -> str:
        return "\n".join(goal.missing(book, state))

    k8s.wait(
        book.cluster,
        what,
        goal.watch(book),
        lambda state: not goal.missing(book, state),
        seconds=seconds,
        explain=explain,
    )


def _ask(book: Notebook) -> None:
    """Ready is a word: the server is asked."""
    k8s.ServiceProxy(book.cluster, book.namespace, deploy.SERVICE, deploy.PORT).text("health")


def _current(book: Notebook) -> Record:
    now = running(book)
    if now is None:
        raise RunbookError(
            "No drill is under way", next_step="runbook drill list shows them, runbook drill start NAME."
        )
    return now


def hint(book: Notebook) -> str:
    """The next hint of the drill that is under way; after the last one the solution.

    Raises:
        RunbookError: no drill is under way.
    """
    now = _current(book)
    drill = catalogue.named(now.drill)
    record.update(book.cluster, book.namespace, replace(now, hints=now.hints + 1))
    if now.hints < len(drill.hints):
        text = drill.hints[now.hints].format(**solving.fields(book))
        return f"hint {now.hints + 1} of {len(drill.hints)}: {text}"
    words = "\n".join(f"  {command}" for command in solving.commands(book, drill))
    return f"one solution, of several (notebook {drill.notebook} explains it):\n{words}"


def check(book: Notebook, seconds: float = CHECK_SECONDS) -> Outcome:
    """Judge the drill that is under way by the state of the cluster; how it was mended doesn't matter.

    Args:
        seconds: how long to watch: a mend that was right takes its time.

    Raises:
        RunbookError: no drill is under way.
    """
    now = _current(book)
    drill = catalogue.named(now.drill)
    missing: list[str] = []

    def reached(state: State) -> bool:
        missing[:] = drill.mended.missing(book, state)
        return not missing

    began = time.monotonic()
    try:
        what = f"{drill.title}: mended"
        k8s.wait(book.cluster, what, drill.mended.watch(book), reached, seconds=seconds)
        _ask(book)
    except k8s.TimedOut:
        missing = missing or [f"nothing was seen within {time.monotonic() - began:.0f} s"]
    except ApiError as error:
        missing.append(f"the server doesn't answer: {error.message}")
    if not missing:
        now = record.solved_now(now)
        record.update(book.cluster, book.namespace, now)
    return Outcome(drill, tuple(missing), now.seconds())


def reset(book: Notebook) -> str:
    """Put everything back as it was, however far the mending got; returns the drill's name, or nothing.

    Raises:
        TimedOut: it is all back, and the server isn't. The record stays: reset can be tried again.
    """
    now = running(book)
    if now is None:
        return ""
    for ref, was in reversed(now.before):
        _restore(book, ref, was)
    seconds = _HEALTHY_SECONDS + book.sizing.startup.load_seconds + book.sizing.shutdown.grace_period_seconds
    _wait(book, "everything is back and the server serves", SERVED, seconds)
    record.end(book.cluster, book.namespace)
    return now.drill


def _restore(book: Notebook, ref: Ref, was: Object | None) -> None:
    if was is not None:
        exact.put(book.cluster, was)
        print(f"put back {ref}")
        return
    live = book.cluster.find(ref)
    if live is None:
        return
    if step_of(live) != book.step or not k8s.is_ours(live):
        print(f"left {ref}: somebody else has made it meanwhile")
        return
    k8s.delete(book.cluster, [(ref, live["metadata"]["uid"])])
