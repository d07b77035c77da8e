"""Our label on nodes: nobody is asked about a node that there is nothing to do on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import pytest

from vllm_runbook import params
from vllm_runbook.cluster import MANAGER, Change, Plan, Ref, ref_of
from vllm_runbook.notebook import Notebook
from vllm_runbook.steps import gpu_nodes


def node(name: str, manager: str, operation: str = "Apply") -> dict[str, Any]:
    return {"metadata": {"name": name, "managedFields": [{"manager": manager, "operation": operation}]}}


class Live:
    """A cluster with these nodes, which notes what it is asked."""

    dry_run = False

    def __init__(self, *nodes: dict[str, Any]) -> None:
        self.nodes, self.asked = nodes, list[str]()

    def list(self, kind: str, *, metadata_only: bool) -> list[dict[str, Any]]:
        self.asked.append(f"list {kind}")
        return list(self.nodes)

    def find(self, ref: Ref) -> dict[str, Any]:
        self.asked.append(f"get {ref}")
        (found,) = (each for each in self.nodes if each["metadata"]["name"] == ref.name)
        return found

    def apply(self, item: dict[str, Any], *, manager: str, dry_run: bool) -> None:
        assert item["metadata"] == {"name": "ours"} and manager == MANAGER
        self.asked.append(f"apply {item['metadata']['name']}")


def test_only_nodes_with_our_label_are_asked_about_when_it_is_taken_off() -> None:
    others = [node(f"other-{number}", "kubelet", "Update") for number in range(50)]
    live = Live(*others, node("ours", MANAGER), node("made", MANAGER, "Update"), node("theirs", "kubectl"))
    book = cast(Notebook, type("Book", (), {"cluster": live}))
    assert gpu_nodes.remove_labels(book) == [Ref("Node", "ours")]
    assert live.asked == ["list Node", "get Node ours", "apply ours"]


KEY, VALUE = "hardware-type", "nvidia-gpu"
OURS = {"f:metadata": {"f:labels": {f"f:{KEY}": {}}}}


def gpu_node(
    manager: str = MANAGER, value: str = VALUE, fields: Any = OURS, operation: str = "Apply"
) -> dict[str, Any]:
    entries = [
        {"manager": "kubelet", "operation": "Update", "fieldsV1": {"f:status": {}}},
        {"manager": manager, "operation": operation, "fieldsV1": fields},
    ]
    meta = {"name": "gpu-0", "labels": {KEY: value}, "managedFields": entries}
    return {"metadata": meta, "spec": {}, "status": {"allocatable": {"nvidia.com/gpu": "4"}}}


class Book:
    """What labelling asks of a notebook; of a server it is told with each object that is planned."""

    params = params.load("sandbox", "tiny")

    def __init__(self, *nodes: dict[str, Any]) -> None:
        self.asked: list[str] = []
        live = {"dry_run": False, "list": staticmethod(lambda _kind: iter(nodes))}
        self.cluster = type("Live", (), live)

    def plan(self, items: Iterable[dict[str, Any]], *, adopt: bool) -> Plan:
        changes = [Change("update", ref_of(item), item) for item in items]
        self.asked += [change.ref.name for change in changes]
        return Plan(tuple(changes))


def test_a_node_that_we_have_labelled_is_unchanged_without_asking() -> None:
    nodes = [gpu_node(), gpu_node(manager="kubectl")]
    for number, each in enumerate(nodes):
        each["metadata"]["name"] = f"gpu-{number}"
    book = Book(*nodes)
    planned = gpu_nodes.plan_labels(cast(Notebook, book))
    assert [(change.action, change.ref.name) for change in planned.changes] == [
        ("update", "gpu-1"),
        ("unchanged", "gpu-0"),
    ]
    assert book.asked == ["gpu-1"]


@pytest.mark.parametrize(
    "node",
    [
        gpu_node(manager="kubectl"),
        gpu_node(operation="Update"),
        gpu_node(value="other"),
        gpu_node(fields={"f:metadata": {"f:labels": {f"f:{KEY}": {}, "f:other": {}}}}),
        gpu_node(fields={"f:metadata": {"f:annotations": {"f:a": {}}}}),
    ],
    ids=["somebody else's", "not applied", "another value", "another label besides", "something else of ours"],
)
def test_the_server_is_asked_about_every_other_node(node: dict[str, Any]) -> None:
    book = Book(node)
    gpu_nodes.plan_labels(cast(Notebook, book))
    assert book.asked == ["gpu-0"]
