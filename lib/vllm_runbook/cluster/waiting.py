"""Waiting for a state, with the reasons when it doesn't come.

A wait ends in one of three ways, each its own type: the state is reached (returned), it can't be reached
any more (:class:`Hopeless`), or the deadline passed (:class:`TimedOut`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ..errors import RunbookError
from .client import Cluster
from .objects import Object
from .stream import Events, Seen, Selection, watching

#: Under a backlog of events the state is judged only so often: a predicate may look at all objects.
_BACKLOG_SECONDS = 0.25


class TimedOut(RunbookError):
    """The deadline passed before the state was there."""


class Hopeless(RunbookError):
    """The state can't come any more: waiting longer is no use."""


@dataclass
class State:
    """What a wait knows: the objects of each watched kind, by name, as last seen.

    Attributes:
        at: when the last event arrived.
    """

    by_kind: dict[str, dict[str, Object]] = field(default_factory=dict)
    at: datetime | None = None

    def all(self, kind: str) -> list[Object]:
        """Objects of a kind, by name."""
        return [item for _, item in sorted(self.by_kind.get(kind, {}).items())]

    def only(self, kind: str) -> Object | None:
        """The one object of a kind, if it is there."""
        return next(iter(self.by_kind.get(kind, {}).values()), None)

    def take(self, event: Seen) -> None:
        """Bring the state up to date."""
        self.at = event.at
        if event.object:
            meta = event.object["metadata"]
            key = f"{meta.get('namespace', '')}/{meta['name']}"
            objects = self.by_kind.setdefault(event.object["kind"], {})
            if event.type == "DELETED":
                if objects.get(key, {}).get("metadata", {}).get("uid") == meta["uid"]:
                    del objects[key]
            else:
                objects[key] = event.object


Check = Callable[[State], bool]
Listener = Callable[[Seen, Events], None]
Explain = Callable[[State], str]


def wait(
    cluster: Cluster,
    what: str,
    selections: Sequence[Selection],
    reached: Check,
    *,
    seconds: float,
    on_event: Listener | None = None,
    explain: Explain | None = None,
    next_step: str = "",
) -> State:
    """Watch until ``reached`` says so.

    Args:
        what: the state in words, for errors: "Deployment llm/vllm-inference is available".
        reached: judges the state once every selection was listed, and again after what has come since: after each
            event, or after several that came at once. Raises Hopeless when it can't come any more.
        seconds: deadline from now.
        on_event: told each event first (to draw it, to follow a log, to note its moment).
        explain: says why, when the deadline passed.

    Raises:
        TimedOut: with what ``explain`` found.
        Hopeless: from ``reached``.
        DryRunEnded: in a dry run that would have changed something.
    """
    cluster.require_nothing_pending(f"“{what}”")
    state, pending = State(), set(selections)
    due = time.monotonic()
    deadline = due + seconds
    with watching(cluster, *selections) as events:
        for event in events.until(deadline):
            state.take(event)
            if event.type == "SYNCED" and event.selection in pending:
                pending.remove(event.selection)
            if on_event is not None and event.type != "SYNCED":
                on_event(event, events)
            if pending or (events.backlog and time.monotonic() < due):
                continue
            if reached(state):
                return state
            due = time.monotonic() + _BACKLOG_SECONDS
        if not pending and reached(state):  # events came until the end
            return state
    why = explain(state) if explain else _what_was_seen(state)
    raise TimedOut(f"{what}: not within {seconds:g} s", why=why, next_step=next_step)


def _what_was_seen(state: State) -> str:
    counts = [f"{len(items)} {kind}" for kind, items in state.by_kind.items()]
    return f"seen: {', '.join(counts) or 'nothing'}"


def condition(item: Mapping[str, object] | None, kind: str) -> Object:
    """A condition of an object's status, or an empty dict."""
    status = (item or {}).get("status")
    conditions = status.get("conditions") if isinstance(status, dict) else None
    return next((each for each in conditions or () if each["type"] == kind), {})


def is_true(item: Mapping[str, object] | None, kind: str) -> bool:
    """Whether a condition is True."""
    return condition(item, kind).get("status") == "True"
