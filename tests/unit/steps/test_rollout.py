"""How a bad version is told from one that is still starting."""

from __future__ import annotations

from typing import Any, cast

import pytest

from told_events import CLUSTER, listed, put, stream
from vllm_runbook import params, sizing
from vllm_runbook.cluster import Selection, State
from vllm_runbook.cluster.stream import Events
from vllm_runbook.notebook import Notebook
from vllm_runbook.steps import deploy, rollout

PODS = 50


class Book:
    """What it asks of a notebook."""

    namespace, cluster = "llm", CLUSTER
    params = params.load("sandbox", "tiny")
    sizing = sizing.size(params)

    def __init__(self) -> None:
        self.checks: dict[str, str] = {}

    def check(self, statement: str, ok: bool, detail: str = "") -> None:
        assert ok
        self.checks[statement] = detail


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Events:
    return stream(monkeypatch)


def rolled(kind: str, name: str, **more: Any) -> dict[str, Any]:
    notes, labels = {"deployment.kubernetes.io/revision": "2"}, {"pod-template-hash": "new"}
    meta = {"namespace": "llm", "name": name, "uid": name, "generation": 1, "annotations": notes, "labels": labels}
    return {"kind": kind, "metadata": meta, **more}


def pod(number: int, *, started: bool = True) -> dict[str, Any]:
    container = {"name": "vllm", "started": started, "ready": False, "state": {"running": {}}}
    return rolled("Pod", f"vllm-{number:02}", status={"containerStatuses": [container]})


def said(number: int, message: str, about: str = "") -> dict[str, Any]:
    name = f"vllm-{number:02}"
    return rolled("Event", f"{name}.{message}", involvedObject={"uid": about or name}, message=message)


def wait(events: Events, *seen: dict[str, Any]) -> str:
    status = {"observedGeneration": 1, "readyReplicas": 2}
    owner = rolled("Deployment", "vllm", spec={"replicas": 2}, status=status)
    put(events, [owner, rolled("ReplicaSet", "vllm-new"), *seen])
    book = cast(Notebook, Book())
    listed(events, *deploy.selections(book), Selection("Event", "llm", fields="reason=Unhealthy"))
    return rollout.wait_stalled(book)


def test_a_server_that_runs_and_is_refused_is_bad(events: Events) -> None:
    seen = [pod(1, started=False), pod(2), pod(3)]
    told = [
        said(1, "Readiness probe failed: still loading"),
        said(2, "Liveness probe failed: 503"),
        said(2, "Readiness probe failed: 404", about="a pod that is gone"),
        said(3, "Readiness probe failed: 404"),
        said(3, "Readiness probe failed: 405"),
    ]
    assert wait(events, *seen, *told) == "the server runs and never gets ready: Readiness probe failed: 404"


def test_all_events_are_gone_through_once_however_many_pods_there_are(
    events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    listings: list[str] = []
    everything = State.all

    def counted(state: State, kind: str) -> list[dict[str, Any]]:
        listings.append(kind)
        return everything(state, kind)

    monkeypatch.setattr(State, "all", counted)
    last = said(PODS - 1, "Readiness probe failed: 404")
    assert "404" in wait(events, *(pod(number) for number in range(PODS)), last)
    assert listings.count("Event") == 1
