"""Reviews of access: each rule is asked once, several at a time, and an error ends the asking."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest

from vllm_runbook.cluster import ApiError, Cluster, refused, rules

WANTED = rules("get list watch create", "pods services secrets", namespace="llm")


class Reviewer(Cluster):
    """As much of a cluster as a review needs; the first two questions are answered together or not at all."""

    def __init__(self, *, fails: bool = False) -> None:
        self.asked: Counter[str] = Counter()
        self._fails = fails
        self._first_two = threading.Barrier(2)

    def json(self, *arguments: Any, body: Any = None, doing: str = "", **more: Any) -> dict[str, Any]:
        self.asked[doing] += 1
        if self._fails:
            if self.asked.total() > 1:  # who asks meanwhile is still waiting for an answer
                threading.Event().wait(1)
            raise ApiError(doing, 500, {"message": "etcd has no leader"})
        attributes = body["spec"]["resourceAttributes"]
        if attributes["resource"] == "pods" and attributes["verb"] in ("create", "get"):
            self._first_two.wait(timeout=60)
        secret = attributes["resource"] == "secrets"
        return {"status": {"allowed": not secret, **({"reason": "RBAC: no"} if secret else {})}}


def test_each_rule_is_asked_once_and_two_at_a_time() -> None:
    cluster = Reviewer()
    missing = refused(cluster, WANTED * 3)
    assert [str(rule) for rule in missing] == [f"{verb} secrets in llm" for verb in ("create", "get", "list", "watch")]
    assert set(missing.values()) == {"RBAC: no"}
    assert len(cluster.asked) == len(WANTED) and set(cluster.asked.values()) == {1}


def test_an_error_ends_the_asking() -> None:
    cluster = Reviewer(fails=True)
    with pytest.raises(ApiError, match="no leader"):
        refused(cluster, rules("get", " ".join(f"kind{number}" for number in range(1000))))
    assert cluster.asked.total() < 100
