"""Which nodes advertise their GPUs, found out with little asking and little memory, however many they are."""

from __future__ import annotations

from typing import Any, cast

import pytest

from told_events import listed, put, stream
from vllm_runbook import params
from vllm_runbook.cluster import Selection, TimedOut, waiting
from vllm_runbook.cluster.stream import Events
from vllm_runbook.notebook import Notebook
from vllm_runbook.plots import alt_text, nodes_figure
from vllm_runbook.steps import device_plugin

GPU = "nvidia.com/gpu"
NODES = Selection("Node")


def node(number: int, gpus: int = 4, **labels: str) -> dict[str, Any]:
    meta = {"name": f"gpu-{number:03}", "uid": f"uid-{number}", "labels": labels}
    status = {"capacity": {GPU: str(gpus)}, "allocatable": {GPU: str(gpus)}} if gpus else {}
    return {"kind": "Node", "metadata": meta, "spec": {}, "status": status}


def silent(number: int) -> dict[str, Any]:
    return node(number, 0, **{"nvidia.com/gpu.present": "true"})


def pod(name: str, place: str, gpus: int = 0, image: str = "x") -> dict[str, Any]:
    resources = {"limits": {GPU: str(gpus)}} if gpus else {}
    container = {"name": "main", "image": image, "resources": resources, "env": [{"name": "BALLAST"}]}
    meta = {"name": name, "namespace": "kube-system", "uid": name}
    spec = {"nodeName": place, "containers": [container], "initContainers": [container]}
    phase = "Running" if place else "Pending"
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec, "status": {"phase": phase}}


class Live:
    """A cluster with these pods, which notes what it is asked."""

    def __init__(self, pods: list[dict[str, Any]]) -> None:
        self.pods, self.asked = pods, list[str]()

    def require_nothing_pending(self, what: str) -> None: ...

    def list(self, kind: str, namespace: str = "", fields: str = "") -> list[dict[str, Any]]:
        self.asked.append(f"list {kind}")
        return self.pods

    def raw(self, method: str, path: str, **more: Any) -> Any:
        self.asked.append("log")
        return type("Response", (), {"data": b"no driver"})


class Book:
    """What it asks of a notebook."""

    params = params.load("sandbox", "tiny")

    def __init__(self, *pods: dict[str, Any]) -> None:
        self.cluster = Live(list(pods))
        self.told: dict[str, Any] = {}

    def check(self, statement: str, ok: bool, detail: str = "") -> None:
        self.told[statement] = ok

    def figure(self, name: str, value: Any) -> None:
        self.told[name] = value


def begin(*pods: dict[str, Any]) -> tuple[Notebook, device_plugin.NodesSeen, Book]:
    book = Book(*pods)
    asked = cast(Notebook, book)
    return asked, device_plugin.NodesSeen(asked), book


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Events:
    return stream(monkeypatch)


def test_of_pods_it_keeps_their_gpus_and_nothing_else() -> None:
    pods = [pod("a", "gpu-001", 1), pod("b", "gpu-001"), pod("c", "", 2), pod("d", "gpu-002", 4)]
    _, seen, _ = begin(*pods)
    seen.nodes = {each["metadata"]["name"]: each for each in (node(1), node(2))}
    assert alt_text(seen.figure()) == alt_text(nodes_figure(seen.nodes.values(), pods, GPU))
    assert "GPUs: 5 of 8 used, 2 more asked for" in alt_text(seen.figure())
    assert len(seen._pods) == 3 and "BALLAST" not in str(seen._pods)


def test_each_event_is_looked_at_by_itself(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many nodes there are, and judged after each."""
    monkeypatch.setattr(waiting, "_BACKLOG_SECONDS", 0)
    looked: list[str] = []
    look = device_plugin.gpus

    def counted(item: dict[str, Any], *more: str) -> int:
        looked.append(item["metadata"]["name"])
        return look(item, *more)

    monkeypatch.setattr(device_plugin, "gpus", counted)
    count = 100
    put(events, [silent(number) for number in range(count)])
    listed(events, NODES)
    put(events, [node(number) for number in range(count)], "MODIFIED")
    asked, seen, book = begin()
    device_plugin.verify(asked, seen)
    assert book.told["gpu_nodes"] == count and book.told["gpus"] == 4 * count
    assert len(looked) <= 5 * count


def test_a_silent_node_that_goes_is_waited_for_no_more(events: Events) -> None:
    put(events, [node(1), silent(2), node(3, 0)])
    listed(events, NODES)
    put(events, [silent(2)], "DELETED")
    asked, seen, book = begin()
    device_plugin.verify(asked, seen, seconds=5)
    assert book.told["gpu_nodes"] == 1


def test_the_first_silent_nodes_are_told_with_one_list_of_pods(events: Events) -> None:
    put(events, [node(0), *(silent(number) for number in range(1, 31))])
    listed(events, NODES)
    plugin = "nvcr.io/nvidia/k8s-device-plugin:v1"
    asked, seen, book = begin(pod("other", "gpu-001"), *(pod(f"p{n}", f"gpu-{n:03}", image=plugin) for n in (2, 30)))
    book.cluster.asked.clear()
    with pytest.raises(TimedOut) as raised:
        device_plugin.verify(asked, seen, seconds=0.1)
    lines = raised.value.why.splitlines()
    assert [line[:7] for line in lines[:10]] == [f"gpu-{number:03}" for number in range(1, 11)]
    assert "no device plugin pod runs there (taints: none" in lines[0]
    assert lines[1:2] + lines[10:] == ["gpu-002: its plugin says: no driver", "and 20 more nodes"]
    assert book.cluster.asked == ["list Pod", "log"]


def test_without_any_gpu_that_is_said(events: Events) -> None:
    put(events, [node(1, 0)])
    listed(events, NODES)
    asked, seen, _ = begin()
    with pytest.raises(TimedOut, match="no node looks like a GPU node"):
        device_plugin.verify(asked, seen, seconds=0.1)
