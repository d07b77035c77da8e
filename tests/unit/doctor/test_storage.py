"""Claims and volumes, and those that only wait for their first pod."""

from __future__ import annotations

from typing import Any

import pytest

from .recorded import ago, codes, diagnosed, event, item, pod, refused, status


def claim(
    name: str = "weights", *, age: float = 300, cls: str | None = "disk", phase: str = "Pending"
) -> dict[str, Any]:
    spec = {"storageClassName": cls, "accessModes": ["ReadWriteOnce"], "volumeName": "pvc-1"}
    return item("PersistentVolumeClaim", name, age, spec=spec, status={"phase": phase})


def storage_class(mode: str = "Immediate") -> dict[str, Any]:
    return item("StorageClass", "disk", namespace="", volumeBindingMode=mode)


def mounting(name: str = "vllm-abc-1", **more: Any) -> dict[str, Any]:
    volume = {"name": "w", "persistentVolumeClaim": {"claimName": "weights"}}
    more.setdefault("statuses", [status(waiting={"reason": "ContainerCreating"})])
    return pod(name, phase="Pending", spec={"volumes": [volume], **more.pop("spec", {})}, **more)


def test_a_class_that_is_not_there() -> None:
    (found,) = diagnosed(claim(cls="nope", age=1), storage_class()).findings
    assert found.code == "pvc-pending" and "There is no StorageClass nope; there are: disk" in found.cause


def test_a_provisioner_that_refuses_and_one_that_is_silent() -> None:
    young, old = claim(age=5), claim(age=300)
    message = "failed to provision volume: rpc error: code = InvalidArgument desc = access mode"
    assert codes(young, storage_class(), event(young, "ProvisioningFailed", message)) == []  # may be a hiccup
    assert codes(young, storage_class(), event(young, "ProvisioningFailed", message, count=3)) == ["pvc-pending"]
    waiting = event(old, "ExternalProvisioning", "Waiting for a volume to be created", kind="Normal")
    (found,) = diagnosed(old, storage_class(), waiting).findings
    assert "doesn't answer" in found.cause and "Waiting for a volume" in found.evidence[-1].line


def test_a_claim_that_waits_for_its_first_pod_is_no_finding() -> None:
    assert codes(claim(age=3000), storage_class("WaitForFirstConsumer")) == []
    assert codes(claim(age=30), storage_class()) == []
    placed = mounting()
    assert codes(claim(age=3000), storage_class("WaitForFirstConsumer"), placed) == ["pvc-pending"]


def test_a_pod_that_waits_for_its_claim_is_told_with_it() -> None:
    message = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."
    waiting = refused(message, spec={"volumes": [{"name": "w", "persistentVolumeClaim": {"claimName": "weights"}}]})
    (found,) = diagnosed(claim(cls="nope"), storage_class(), waiting).findings
    assert found.code == "pvc-pending" and found.consequences == ("unschedulable: Deployment llm/vllm",)
    assert codes(claim(age=5), storage_class(), waiting) == []


@pytest.mark.parametrize(
    "words", ["didn't match PersistentVolume's node affinity", "had volume node affinity conflict"]
)
def test_a_volume_in_another_zone(words: str) -> None:
    assert codes(refused(f"0/1 nodes are available: 1 node(s) {words}.")) == ["volume-zone"]


def test_a_claim_that_pods_name_in_vain() -> None:
    (found,) = diagnosed(mounting("a"), mounting("b")).findings
    assert found.code == "pvc-missing" and found.count == 2
    assert codes(mounting(), claim(phase="Lost")) == ["pvc-missing"]


@pytest.mark.parametrize(
    "words",
    [
        "Volume is already used by pod(s) vllm-abc-1",
        "Volume is already exclusively attached to one node and can't be attached to another",
    ],
)
def test_multi_attach(words: str) -> None:
    holder, second = mounting(statuses=[status(running={"startedAt": ago(9)}, ready=True)]), mounting("two", on="gpu-1")
    failed = event(second, "FailedAttachVolume", f'Multi-Attach error for volume "pvc-1" {words}')
    (found,) = diagnosed(holder, second, claim(phase="Bound"), failed).findings
    assert found.code == "multi-attach" and "vllm-abc-1 on gpu-0" in found.cause


def test_multi_attach_that_is_over_is_no_finding() -> None:
    runs = mounting("two", on="gpu-1", statuses=[status(running={"startedAt": ago(9)}, ready=True)])
    failed = event(runs, "FailedAttachVolume", 'Multi-Attach error for volume "pvc-1" Volume is already used')
    assert codes(runs, claim(phase="Bound"), failed) == []


def test_mounts_that_fail() -> None:
    stuck = mounting()
    fail = 'MountVolume.SetUp failed for volume "token" : failed to sync secret cache: timed out waiting'
    assert codes(mounting(age=5), claim(phase="Bound"), event(stuck, "FailedMount", fail)) == []
    assert codes(stuck, claim(phase="Bound"), event(stuck, "FailedMount", fail, count=9)) == ["mount-failed"]
    host = event(stuck, "FailedMount", "hostPath type check failed: /var/lib/models is not a directory", count=9)
    assert codes(stuck, claim(phase="Bound"), host) == ["weights-missing"]
