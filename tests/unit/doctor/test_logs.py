"""Which logs are read when many containers are in trouble."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

from vllm_runbook.cluster import Cluster, Ref
from vllm_runbook.doctor import examine

from .recorded import CONTEXT, Object, crashing, ended, pod


class Answers:
    """A cluster that has these pods, each with a log that says whose it is."""

    def __init__(self, *pods: Object) -> None:
        self.pods, self.read = pods, list[str]()

    def list(self, kind: str, namespace: str = "", **selectors: Any) -> Iterator[Object]:
        assert not gc.isenabled(), "the garbage collector waits meanwhile"
        return iter(self.pods if kind == "Pod" else ())

    def find(self, ref: Ref) -> Object:
        return {}

    def serves(self, kind: str) -> bool:
        return False

    def json(self, *request: str, **more: Any) -> Object:
        return {"groups": []}

    def path(self, kind: str, *, name: str = "", namespace: str = "") -> str:
        return name

    def raw(self, method: str, path: str, **more: Any) -> SimpleNamespace:
        if path.endswith("/log"):
            self.read.append(path.removesuffix("/log"))
        return SimpleNamespace(data=path.encode(), headers={"Date": "Thu, 01 Jan 2026 12:00:00 GMT"})


def bare(name: str, image: str = "busybox:1.36", code: int = 1) -> Object:
    return pod(name, owner={}, statuses=[crashing(ended(code)) | {"image": image}])


def test_of_one_workload_a_few_are_read() -> None:
    cluster = Answers(*(pod(f"vllm-abc-{number}", statuses=[crashing()]) for number in range(500)))
    found = examine(cast(Cluster, cluster), CONTEXT)
    assert len(cluster.read) == len(found.logs) == 3 and found.gaps == []


def test_of_very_many_a_hundred_are_read_and_what_differs_first() -> None:
    alike = [bare(f"job-{number:03}") for number in range(200)]
    cluster = Answers(*alike, bare("another-image", "python:3.11"), bare("another-end", code=137))
    found = examine(cast(Cluster, cluster), CONTEXT)
    assert cluster.read[:3] == ["job-000", "another-image", "another-end"] and len(cluster.read) == 100
    assert found.gaps == [("logs of 102 more containers in trouble", "the first 100 were read")]
