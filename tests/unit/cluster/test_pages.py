"""A wait lists what it watches in pages: one answer with everything in it costs more than its pages do."""

from __future__ import annotations

import threading
from typing import Any

from vllm_runbook.cluster import Selection, wait

PODS = 1200


class Paged:
    """As much of a cluster as a wait asks: pods in pages of the size asked for, and a watch that says nothing."""

    dry_run = False

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def require_nothing_pending(self, what: str) -> None:
        pass

    def path(self, kind: str, **more: str) -> str:
        return "/api/v1/pods"

    def json(self, method: str, path: str, *, query: dict[str, Any], accept: str, doing: str) -> dict[str, Any]:
        start, limit = int(query.get("continue") or 0), int(query.get("limit") or PODS)
        self.asked.append((start, limit))
        end = min(start + limit, PODS)
        items = [{"metadata": {"name": f"pod-{number}", "uid": str(number)}} for number in range(start, end)]
        more = {"continue": str(end)} if end < PODS else {}
        return {"metadata": {"resourceVersion": "7", **more}, "items": items}

    def raw(self, *arguments: object, **more: object) -> None:
        threading.Event().wait()


def test_a_wait_lists_in_pages_and_sees_all_of_them() -> None:
    cluster = Paged()
    state = wait(
        cluster,  # type: ignore[arg-type]
        "all are there",
        [Selection("Pod", "crowd")],
        lambda state: len(state.by_kind.get("Pod", {})) == PODS,
        seconds=60,
    )
    assert len(state.all("Pod")) == PODS
    assert cluster.asked == [(0, 500), (500, 500), (1000, 500)]
