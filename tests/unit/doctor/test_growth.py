"""What a diagnosis costs grows with what there is to look at, and no faster.

Calls are counted, not seconds: of a snapshot twice and four times as large, so that what it costs to begin drops out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from vllm_runbook.doctor import diagnose

from .recorded import GPU, ago, crashing, event, item, node, pod, refused, snapshot, status

Objects = list[dict[str, Any]]
ONE = 20
#: Twice as much for twice as many is linear; four times as much is quadratic.
LINEAR, LEEWAY = 2, 1.2


def owned(number: int) -> dict[str, Any]:
    """Of a Job with one pod."""
    return {"owner": {"kind": "Job", "name": f"job-{number}", "controller": True}}


def jobs_that_wait_for_gpus_in_use(size: int) -> Objects:
    nodes = [node(f"gpu-{number}", 1) for number in range(size)]
    held = [pod(f"held-{number}", on=f"gpu-{number}") for number in range(size)]
    message = f"0/{size} nodes are available: {size} Insufficient {GPU}."
    return nodes + held + [refused(message, name=f"waits-{number}", **owned(number)) for number in range(size)]


def jobs_that_wait_for_nodes_with_another_label(size: int) -> Objects:
    nodes = [node(f"gpu-{number}", 1, labels={}) for number in range(size)]
    spec = {"spec": {"nodeSelector": {"hardware-type": "nvidia-gpu"}}}
    waiting = [refused("no node", name=f"waits-{number}", **owned(number), **spec) for number in range(size)]
    return nodes + waiting


def pods_that_wait_for_memory(size: int) -> Objects:
    nodes = [node(f"gpu-{number}", 1) for number in range(size)]
    message = f"0/{size} nodes are available: {size} Insufficient memory."
    return nodes + [refused(message, name=f"waits-{number}", **owned(number)) for number in range(size)]


def a_lost_zone(size: int) -> Objects:
    nodes = [node(f"gpu-{number}", 1, ready="Unknown") for number in range(size)]
    ending = {"metadata": {"deletionTimestamp": ago(600)}}
    return nodes + [pod(f"vllm-abc-{number}", on=f"gpu-{number}", **ending) for number in range(size)]


def services_budgets_and_a_policy(size: int) -> Objects:
    found: Objects = [item("NetworkPolicy", "others", spec={"podSelector": {"matchLabels": {"app": "nobody"}}})]
    for number in range(size):
        labels = {"app": f"app-{number}"}
        found += [
            pod(f"app-{number}", metadata={"labels": labels}),
            item("Service", f"app-{number}", spec={"selector": labels}),
            item(
                "PodDisruptionBudget",
                f"app-{number}",
                spec={"minAvailable": 1, "selector": {"matchLabels": labels}},
                status={"observedGeneration": 1, "expectedPods": 1, "desiredHealthy": 1},
            ),
            node(f"gpu-{number}", unschedulable=number == 0),
        ]
    return found


def pods_of_one_disk(size: int) -> Objects:
    claim = item("PersistentVolumeClaim", "weights", spec={"volumeName": "disk"}, status={"phase": "Bound"})
    volumes = {"spec": {"volumes": [{"persistentVolumeClaim": {"claimName": "weights"}}]}}
    found = [claim]
    for number in range(size):
        waits = pod(f"vllm-abc-{number}", on=f"gpu-{number}", phase="Pending", **volumes)
        found += [waits, event(waits, "FailedAttachVolume", 'Multi-Attach error for volume "disk"', count=9)]
    return found


def pods_that_crash(size: int) -> Objects:
    return [pod(f"job-{number}", statuses=[crashing()], **owned(number)) for number in range(size)]


def pods_of_one_deployment_that_crash(size: int) -> Objects:
    return [pod(f"vllm-abc-{number}", statuses=[crashing()]) for number in range(size)]


def pods_that_are_well(size: int) -> Objects:
    running = [status(ready=True, running={"startedAt": ago(300)})]
    return [pod(f"vllm-abc-{number}", on=f"gpu-{number}", statuses=running) for number in range(size)]


@pytest.mark.parametrize(
    "trouble",
    [
        jobs_that_wait_for_gpus_in_use,
        jobs_that_wait_for_nodes_with_another_label,
        pods_that_wait_for_memory,
        a_lost_zone,
        services_budgets_and_a_policy,
        pods_of_one_disk,
        pods_that_crash,
        pods_of_one_deployment_that_crash,
        pods_that_are_well,
    ],
)
def test_a_diagnosis_costs_no_more_than_its_share(trouble: Callable[[int], Objects]) -> None:
    small, middle, large = (calls(trouble(size)) for size in (ONE, 2 * ONE, 4 * ONE))
    assert large - middle <= LINEAR * LEEWAY * (middle - small), (small, middle, large)


def calls(items: Objects) -> int:
    """Functions, Python's and C's, that a diagnosis of these objects calls."""
    snap, count = snapshot(*items), 0

    def counted(frame: FrameType, what: str, argument: object) -> None:
        nonlocal count
        count += what in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        diagnose(snap)
    finally:
        sys.setprofile(before)
    return count
