"""A claim that is there: it never shrinks, and whether it may grow is known before anything is applied."""

from __future__ import annotations

from typing import Any, cast

import pytest

from vllm_runbook.cluster import Cluster, Ref, get_in
from vllm_runbook.errors import RunbookError
from vllm_runbook.steps import claims, verify


def claim(size: str, *, has: str = "", phase: str = "Bound", storage_class: str | None = "fast") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "model-weights", "namespace": "llm-models"},
        "spec": {"storageClassName": storage_class, "resources": {"requests": {"storage": size}}},
        "status": {"phase": phase, "capacity": {"storage": has or size}},
    }


class Live:
    """What the checks ask of a cluster."""

    def __init__(self, found: dict[str, Any] | None, **classes: bool) -> None:
        self.claim, self.classes = found, classes

    def find(self, ref: Ref) -> dict[str, Any] | None:
        if ref.kind == "PersistentVolumeClaim":
            return self.claim
        return {"allowVolumeExpansion": self.classes[ref.name]} if ref.name in self.classes else None


def require(live: Live, wanted: dict[str, Any]) -> None:
    claims.require_room(cast(Cluster, live), wanted, "Do something else.")


@pytest.mark.parametrize(
    ("wanted", "live", "applied"),
    [
        ("40Gi", "60Gi", "60Gi"),  # a model is gone
        ("60Gi", "60Gi", "60Gi"),
        ("80Gi", "60Gi", "80Gi"),
        ("1Ti", "1000Gi", "1Ti"),
        ("1000Gi", "1Ti", "1Ti"),  # by amount, not by text
    ],
)
def test_never_less_than_the_live_one_asks_for(wanted: str, live: str, applied: str) -> None:
    found = claims.kept(claim(wanted), claim(live))
    assert get_in(found, claims.REQUEST) == applied
    assert claims.kept(claim(wanted), None) == claim(wanted)


def test_what_the_provisioner_gave_on_top_is_used_without_asking_for_it() -> None:
    wanted, live = claim("61Gi"), claim("60Gi", has="64Gi")
    assert get_in(claims.kept(wanted, live), claims.REQUEST) == "60Gi"
    require(Live(live, fast=False), wanted)
    assert claims.grows(claim("65Gi"), live)


def test_it_may_grow_where_its_class_lets_it() -> None:
    require(Live(claim("60Gi"), fast=True), claim("80Gi"))
    require(Live(None), claim("80Gi"))
    require(Live(claim("80Gi"), fast=False), claim("60Gi"))


@pytest.mark.parametrize(
    ("live", "classes", "reason"),
    [
        (claim("60Gi"), {"fast": False}, "StorageClass fast has no allowVolumeExpansion: true"),
        (claim("60Gi"), {}, "there is no StorageClass fast"),
        (claim("60Gi", storage_class=None), {"fast": True}, "it has no StorageClass"),
        (claim("60Gi", phase="Pending"), {"fast": True}, "it isn't bound yet"),
    ],
)
def test_otherwise_object_reason_and_what_to_do_are_said(
    live: dict[str, Any], classes: dict[str, bool], reason: str
) -> None:
    with pytest.raises(
        RunbookError, match="PersistentVolumeClaim llm-models/model-weights asks for 60Gi, 80Gi"
    ) as told:
        require(Live(live, **classes), claim("80Gi"))
    assert reason in told.value.why and told.value.next_step == "Do something else."


def test_a_claim_larger_than_needed_is_no_drift() -> None:
    live = claim("60Gi")
    live["metadata"] = {**live["metadata"], "labels": {"app.kubernetes.io/managed-by": "vllm-runbook"}}

    def wanted(size: str) -> dict[str, Any]:
        return {key: value for key, value in claim(size).items() if key != "status"}

    assert verify._words(wanted("40Gi"), live) == []
    (words,) = verify._words(wanted("80Gi"), live)
    assert "spec.resources.requests.storage: 60Gi, applied was 80Gi" in words
