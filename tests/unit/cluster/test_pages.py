"""A wait lists what it watches in pages: one answer with everything in it costs more than its pages do."""

from __future__ import annotations

import gc
import threading
from typing import Any

from vllm_runbook.cluster import Cluster, Selection, wait

PODS = 1200


class Paged(Cluster):
    """As much of a cluster as a wait asks: pods in pages of the size asked for, and a watch that says nothing."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        self.collecting: list[bool] = []

    def require_nothing_pending(self, what: str) -> None:
        pass

    def path(self, *arguments: Any, **more: Any) -> str:
        return "/api/v1/pods"

    def json(self, *arguments: Any, query: Any = None, **more: Any) -> dict[str, Any]:
        start, limit = int(query.get("continue") or 0), int(query.get("limit") or PODS)
        self.asked.append((start, limit))
        self.collecting.append(gc.isenabled())
        end = min(start + limit, PODS)
        items = [{"metadata": {"name": f"pod-{number}", "uid": str(number)}} for number in range(start, end)]
        rest = {"continue": str(end)} if end < PODS else {}
        return {"metadata": {"resourceVersion": "7", **rest}, "items": items}

    def raw(self, *arguments: Any, **more: Any) -> None:
        threading.Event().wait()


def test_a_wait_lists_in_pages_and_sees_all_of_them() -> None:
    cluster = Paged()
    state = wait(
        cluster,
        "all are there",
        [Selection("Pod", "crowd")],
        lambda state: len(state.by_kind.get("Pod", {})) == PODS,
        seconds=60,
    )
    assert len(state.all("Pod")) == PODS
    assert cluster.asked == [(0, 500), (500, 500), (1000, 500)]
    assert cluster.collecting == [False] * 3, "the garbage collector waits until all is read"
    assert gc.isenabled()
