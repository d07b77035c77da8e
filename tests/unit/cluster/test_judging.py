"""When a wait judges: what came at once is judged once, for a predicate may look at all objects."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, cast

import pytest

from vllm_runbook.cluster import Cluster, Hopeless, Seen, Selection, State, TimedOut, wait, waiting
from vllm_runbook.cluster.stream import Events

PODS = Selection("Pod", "llm")
MANY = 1000


class Quiet:
    """As much of a cluster as a wait asks whose events come from the test."""

    def require_nothing_pending(self, what: str) -> None: ...


CLUSTER = cast(Cluster, Quiet())


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Events:
    stream = Events(CLUSTER)

    @contextlib.contextmanager
    def watching(*_: Any) -> Iterator[Events]:
        yield stream

    monkeypatch.setattr(waiting, "watching", watching)
    return stream


@pytest.fixture
def never_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a backlog the state isn't judged at all."""
    monkeypatch.setattr(waiting, "_BACKLOG_SECONDS", 3600)


def put(events: Events, *names: str) -> None:
    for name in names:
        item = {"kind": "Pod", "metadata": {"name": name, "namespace": "llm", "uid": name}}
        events._put("ADDED", PODS, item)


def more(_: Seen, events: Events) -> None:
    """There is always another event."""
    events.wake()


@pytest.mark.usefixtures("never_between")
def test_events_that_came_at_once_are_judged_once_and_each_is_told(events: Events) -> None:
    events._put("SYNCED", PODS)
    put(events, *map(str, range(MANY)))
    told: list[Seen] = []
    judged: list[int] = []

    def reached(state: State) -> bool:
        judged.append(len(state.by_kind.get("Pod", {})))
        return judged[-1] == MANY

    wait(CLUSTER, "all are there", [PODS], reached, seconds=60, on_event=lambda event, _: told.append(event))
    assert judged == [0, MANY] and len(told) == MANY


def test_a_stream_without_a_pause_is_judged_meanwhile(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_BACKLOG_SECONDS", 0)
    events._put("SYNCED", PODS)
    events.wake()
    judged: list[State] = []

    def reached(state: State) -> bool:
        judged.append(state)
        return len(judged) == 10

    wait(CLUSTER, "it was judged ten times", [PODS], reached, seconds=5, on_event=more)


@pytest.mark.usefixtures("never_between")
def test_what_came_last_before_the_deadline_counts(events: Events) -> None:
    events._put("SYNCED", PODS)
    put(events, "a")
    state = wait(CLUSTER, "it is there", [PODS], lambda state: bool(state.all("Pod")), seconds=0.2, on_event=more)
    assert [pod["metadata"]["name"] for pod in state.all("Pod")] == ["a"]


@pytest.mark.usefixtures("never_between")
def test_a_hopeless_state_at_the_deadline_is_told_as_that(events: Events) -> None:
    events._put("SYNCED", PODS)
    put(events, "a")

    def reached(state: State) -> bool:
        if state.all("Pod"):
            raise Hopeless("it can't come")
        return False

    with pytest.raises(Hopeless):
        wait(CLUSTER, "it is there", [PODS], reached, seconds=0.2, on_event=more)


def test_nothing_is_judged_before_everything_was_listed(events: Events) -> None:
    events._put("SYNCED", PODS)
    put(events, "a")
    nodes = Selection("Node")

    def reached(state: State) -> bool:
        raise AssertionError("there may be nodes")

    with pytest.raises(TimedOut):
        wait(CLUSTER, "both are there", [PODS, nodes], reached, seconds=0.2)
