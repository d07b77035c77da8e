"""When a wait judges: what came at once is judged once, for a predicate may look at all objects."""

from __future__ import annotations

from typing import Any

import pytest

from told_events import CLUSTER, listed, put, stream
from vllm_runbook.cluster import Hopeless, Seen, Selection, State, TimedOut, wait, waiting
from vllm_runbook.cluster.stream import Events

PODS = Selection("Pod", "llm")
MANY = 1000


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Events:
    return stream(monkeypatch)


@pytest.fixture
def never_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a backlog the state isn't judged at all."""
    monkeypatch.setattr(waiting, "_BACKLOG_SECONDS", 3600)


def pod(name: str) -> dict[str, Any]:
    return {"kind": "Pod", "metadata": {"name": name, "namespace": "llm", "uid": name}}


def more(_: Seen, events: Events) -> None:
    """There is always another event."""
    events.wake()


@pytest.mark.usefixtures("never_between")
def test_events_that_came_at_once_are_judged_once_and_each_is_told(events: Events) -> None:
    listed(events, PODS)
    put(events, [pod(str(number)) for number in range(MANY)])
    told: list[Seen] = []
    judged: list[int] = []

    def reached(state: State) -> bool:
        judged.append(len(state.by_kind.get("Pod", {})))
        return judged[-1] == MANY

    wait(CLUSTER, "all are there", [PODS], reached, seconds=60, on_event=lambda event, _: told.append(event))
    assert judged == [0, MANY] and len(told) == MANY


def test_a_stream_without_a_pause_is_judged_meanwhile(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_BACKLOG_SECONDS", 0)
    listed(events, PODS)
    events.wake()
    judged: list[State] = []

    def reached(state: State) -> bool:
        judged.append(state)
        return len(judged) == 10

    wait(CLUSTER, "it was judged ten times", [PODS], reached, seconds=5, on_event=more)


@pytest.mark.usefixtures("never_between")
def test_what_came_last_before_the_deadline_counts(events: Events) -> None:
    listed(events, PODS)
    put(events, [pod("a")])
    state = wait(CLUSTER, "it is there", [PODS], lambda state: bool(state.all("Pod")), seconds=0.2, on_event=more)
    assert [pod["metadata"]["name"] for pod in state.all("Pod")] == ["a"]


@pytest.mark.usefixtures("never_between")
def test_a_hopeless_state_at_the_deadline_is_told_as_that(events: Events) -> None:
    listed(events, PODS)
    put(events, [pod("a")])

    def reached(state: State) -> bool:
        if state.all("Pod"):
            raise Hopeless("it can't come")
        return False

    with pytest.raises(Hopeless):
        wait(CLUSTER, "it is there", [PODS], reached, seconds=0.2, on_event=more)


def test_nothing_is_judged_before_everything_was_listed(events: Events) -> None:
    listed(events, PODS)
    put(events, [pod("a")])
    nodes = Selection("Node")

    def reached(state: State) -> bool:
        raise AssertionError("there may be nodes")

    with pytest.raises(TimedOut):
        wait(CLUSTER, "both are there", [PODS, nodes], reached, seconds=0.2)
