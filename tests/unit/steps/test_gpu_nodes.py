"""Our label on nodes: nobody is asked about a node that there is nothing to do on."""

from __future__ import annotations

from typing import Any, cast

from vllm_runbook.cluster import MANAGER, Ref
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
