"""When a rollout is done, and which pods are of it."""

from __future__ import annotations

from typing import Any

import pytest

from vllm_runbook.cluster import State
from vllm_runbook.steps import workloads


def _deployment(generation: int = 2, **status: int) -> dict[str, Any]:
    meta = {"name": "vllm", "generation": generation, "annotations": {"deployment.kubernetes.io/revision": "7"}}
    return {"kind": "Deployment", "metadata": meta, "spec": {"replicas": 2}, "status": status}


_DONE = {"observedGeneration": 2, "updatedReplicas": 2, "replicas": 2, "availableReplicas": 2}


def test_a_deployment_is_rolled_out() -> None:
    assert workloads.rolled_out(_deployment(**_DONE))


@pytest.mark.parametrize(
    "change",
    [{"observedGeneration": 1}, {"updatedReplicas": 1}, {"replicas": 3}, {"availableReplicas": 1}],
    ids=["not yet seen by its controller", "old pods are left", "an old pod is ending", "one isn't available"],
)
def test_a_deployment_is_not_rolled_out(change: dict[str, int]) -> None:
    assert not workloads.rolled_out(_deployment(**{**_DONE, **change}))


def test_what_is_not_there_is_not_rolled_out() -> None:
    assert not workloads.rolled_out(None)


@pytest.mark.parametrize(("updated", "ready", "done"), [(3, 3, True), (2, 3, False), (3, 2, False)])
def test_a_daemonset(updated: int, ready: int, done: bool) -> None:
    status = {
        "observedGeneration": 1,
        "desiredNumberScheduled": 3,
        "updatedNumberScheduled": updated,
        "numberReady": ready,
    }
    item = {"kind": "DaemonSet", "metadata": {"name": "dcgm", "generation": 1}, "spec": {}, "status": status}
    assert workloads.rolled_out(item) is done


def _replica_set(name: str, revision: int) -> dict[str, Any]:
    labels, notes = {"pod-template-hash": name}, {"deployment.kubernetes.io/revision": str(revision)}
    return {"kind": "ReplicaSet", "metadata": {"name": name, "labels": labels, "annotations": notes}}


def _pod(template: str) -> dict[str, Any]:
    return {"kind": "Pod", "metadata": {"name": f"vllm-{template}", "labels": {"pod-template-hash": template}}}


def _state(*items: dict[str, Any]) -> State:
    found = State()
    for item in items:
        found.by_kind.setdefault(item["kind"], {})[item["metadata"]["name"]] = item
    return found


def test_only_pods_of_the_newest_revision_count() -> None:
    sets = (_replica_set("old", 6), _replica_set("new", 7))
    state = _state(_deployment(observedGeneration=2), *sets, _pod("old"), _pod("new"))
    assert [pod["metadata"]["name"] for pod in workloads.new_pods(state)] == ["vllm-new"]


def test_no_pod_is_new_before_the_controller_has_seen_the_change() -> None:
    state = _state(_deployment(observedGeneration=1), _replica_set("old", 7), _pod("old"))
    assert workloads.new_pods(state) == []


@pytest.mark.parametrize(
    ("status", "stuck"),
    [
        ({"state": {"waiting": {"reason": "ImagePullBackOff"}}}, True),
        ({"state": {"waiting": {"reason": "ErrImagePull"}}}, False),
        ({"state": {"terminated": {"exitCode": 1}}}, True),
        ({"state": {"waiting": {"reason": "ContainerCreating"}}}, False),
        ({"state": {"running": {}}, "lastState": {"terminated": {"exitCode": 137}}, "started": True}, False),
    ],
    ids=["no image", "one try at the image failed", "crashed", "being made", "crashed once, and serves"],
)
def test_a_pod_that_can_not_start(status: dict[str, Any], stuck: bool) -> None:
    assert workloads.can_not_start({"status": {"containerStatuses": [status]}}) is stuck
