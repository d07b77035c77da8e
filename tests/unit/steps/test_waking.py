"""The moments of a model's waking, from the events that show them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from vllm_runbook import params
from vllm_runbook.cluster.stream import Seen
from vllm_runbook.cluster.waiting import State
from vllm_runbook.notebook import Notebook
from vllm_runbook.plots import alt_text
from vllm_runbook.steps import served_models, waking

START = datetime(2026, 1, 1, tzinfo=UTC)


class Book:
    """What the figure and the table ask of a notebook."""

    params = params.load("sandbox", "tiny")


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def deployment(replicas: int) -> dict[str, Any]:
    return {"kind": "Deployment", "metadata": {"name": "model"}, "spec": {"replicas": replicas}}


def pod(node: str = "", *, running: bool = False, ready: bool = False) -> dict[str, Any]:
    state = {"running": {}} if running else {"waiting": {}}
    conditions = [{"type": "Ready", "status": str(ready)}]
    status = {"containerStatuses": [{"state": state}], "conditions": conditions}
    return {"kind": "Pod", "metadata": {"name": "model-1"}, "spec": {"nodeName": node}, "status": status}


@pytest.fixture
def found() -> waking.Wake:
    (cold,) = (each for each in served_models.servers(Book.params) if each.cold)
    wake = waking.Wake(cold)
    wake.note("asked", at(0))
    events = [
        (1, deployment(0)),  # as it was: nothing is idle before somebody was answered
        (4, deployment(1)),
        (5, pod()),
        (6, pod("gpu-0")),
        (7, pod("gpu-0", running=True)),
        (12, pod("gpu-0", running=True, ready=True)),
    ]
    for second, item in events:
        waking._note(wake, Seen("MODIFIED", None, item, at=at(second)))
    wake.note("answered", at(13))
    waking._note(wake, Seen("MODIFIED", None, deployment(1), at=at(14)))
    waking._note(wake, Seen("MODIFIED", None, deployment(0), at=at(40)))
    waking._note(wake, Seen("DELETED", None, pod("gpu-0", running=True), at=at(55)))
    wake.note("gone", at(55))
    return wake


def test_each_moment_is_the_first_event_that_shows_it(found: waking.Wake) -> None:
    expected = {"woken": 4, "scheduled": 2, "started": 1, "ready": 5, "answered": 1, "idle": 27, "gone": 15}
    assert found.parts() == expected
    assert found.until("answered") == 13 and found.until("gone") == sum(expected.values())


def test_the_figure_says_it_in_words(found: waking.Wake) -> None:
    book: Notebook = Book()  # type: ignore[assignment]
    figure = waking.figure(book, found)
    assert [trace.name for trace in figure.data] == list(waking.MOMENTS)[1:]
    words = alt_text(figure)
    assert "Answered 13 s after it was asked at zero replicas" in words and "until woken 4.0 s" in words
    rows = {row[0]: row for row in waking.table(book, found).rows}
    assert rows["ready"][1] == "5.0 s" and "load times / 20" in rows["ready"][2]


def test_asleep_is_no_replica_and_no_pod() -> None:
    state = State({"Deployment": {"a": deployment(0)}})
    assert waking._asleep(state)
    state.by_kind["Pod"] = {"a": pod("gpu-0")}
    assert not waking._asleep(state)
    assert not waking._asleep(State({"Deployment": {"a": deployment(1)}}))
    assert not waking._asleep(State({}))


def test_the_first_cold_model_is_chosen() -> None:
    servers = served_models.servers(Book.params)
    cold = waking.cold(servers)
    assert cold and cold.name == "model-gpt-oss-20b"
    assert waking.cold([each for each in servers if not each.cold]) is None
