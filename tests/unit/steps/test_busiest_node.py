"""Which node a drain or an interruption takes: the one with most of a target's pods."""

from __future__ import annotations

from typing import Any, cast

import pytest

from vllm_runbook import params
from vllm_runbook.notebook import Notebook
from vllm_runbook.steps import disruption, interruption
from vllm_runbook.steps.load import Target

TARGET = Target("llm", "s", "vllm", "app=vllm")
WAYS = [disruption._node_to_drain, interruption._most]


class Name(str):
    """A name that counts how often it is compared."""

    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Name.compared += 1
        return str.__eq__(self, other)


class Live:
    """A cluster with a pod on each of these nodes, which are all spot nodes."""

    def __init__(self, *nodes: str) -> None:
        self.nodes = nodes

    def list(self, kind: str, *_: str, **selectors: str) -> list[dict[str, Any]]:
        if kind == "Node":
            return [{"metadata": {"name": str(name)}} for name in set(self.nodes)]
        status = {"conditions": [{"type": "Ready", "status": "True"}]}
        return [{"metadata": {}, "spec": {"nodeName": name}, "status": status} for name in self.nodes]


def book(*nodes: str) -> Notebook:
    return cast(Notebook, type("Book", (), {"cluster": Live(*nodes), "params": params.load("sandbox", "tiny")}))


@pytest.mark.parametrize("way", WAYS)
def test_of_two_with_as_many_the_first(way: Any) -> None:
    assert way(book("c", "b", "a", "b", "c"), TARGET) == "b"


@pytest.mark.parametrize("way", WAYS)
def test_many_pods_are_counted_in_one_go(way: Any) -> None:
    count = 200
    pods = [Name(f"node-{number % count:03}") for number in range(2 * count)]
    asked = book(*pods, Name("node-007"))
    Name.compared = 0
    assert way(asked, TARGET) == "node-007"
    assert Name.compared <= 5 * len(pods)
