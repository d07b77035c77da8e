"""Small snapshots with the words that a real API server, scheduler and kubelet use (Kubernetes 1.36)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from vllm_runbook.cluster import API_VERSIONS
from vllm_runbook.doctor import Context, Diagnosis, Snapshot, diagnose
from vllm_runbook.doctor.snapshot import Log

Object = dict[str, Any]
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
GPU = "nvidia.com/gpu"
CONTEXT = Context("llm", "sandbox", "qwen3-8b")


def ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def item(kind: str, name: str, age: float = 3600, namespace: str = "llm", **fields: Any) -> Object:
    meta = {"name": name, "namespace": namespace, "uid": f"uid-{kind}-{name}", "creationTimestamp": ago(age)}
    meta |= fields.pop("metadata", {})
    return {"kind": kind, "apiVersion": API_VERSIONS[kind], "metadata": meta, "spec": {}, "status": {}, **fields}


def node(name: str, gpus: int = 4, *, age: float = 3600, ready: str = "True", **more: Any) -> Object:
    """A GPU node; ``capacity``, ``labels``, ``taints``, ``unschedulable``, ``conditions``."""
    labels = more.get("labels", {"hardware-type": "nvidia-gpu"})
    spec = {"taints": more.get("taints", []), "unschedulable": more.get("unschedulable", False)}
    conditions = [{"type": "Ready", "status": ready, "reason": "KubeletReady", "message": "kubelet stopped posting"}]
    conditions += more.get("conditions", [])
    resources = {"allocatable": {GPU: str(gpus)}, "capacity": {GPU: str(more.get("capacity", gpus))}}
    return item(
        "Node", name, age, "", metadata={"labels": labels}, spec=spec, status={**resources, "conditions": conditions}
    )


def pod(name: str = "vllm-abc-1", *, age: float = 600, **more: Any) -> Object:
    """A pod of Deployment vllm; ``on`` a node, with ``statuses``, ``conditions``, ``container`` and ``spec`` fields."""
    container = {
        "name": "vllm",
        "image": "vllm/vllm-openai:v0.32.0",
        "resources": {"limits": {GPU: "1", "memory": "16Gi"}},
    }
    spec = {
        "containers": [container | more.get("container", {})],
        "nodeName": more.get("on", "gpu-0"),
        **more.get("spec", {}),
    }
    owner = more.get("owner", {"kind": "ReplicaSet", "name": "vllm-abc", "controller": True})
    meta = {
        "ownerReferences": [owner],
        "labels": {"app": "vllm", "pod-template-hash": "abc"},
        **more.get("metadata", {}),
    }
    status = {
        "phase": more.get("phase", "Running" if spec["nodeName"] else "Pending"),
        "containerStatuses": more.get("statuses", []),
        "conditions": more.get("conditions", []),
    }
    return item("Pod", name, age, metadata=meta, spec=spec, status=status)


def refused(message: str, **more: Any) -> Object:
    """A pod that the scheduler has tried and found no node for."""
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return pod(on="", conditions=[condition], **more)


def status(*, ready: bool = False, restarts: int = 0, **state: Any) -> Object:
    """A container's status: ``waiting``, ``running`` or ``terminated``, and ``last`` (terminated)."""
    last = state.pop("last", None)
    return {
        "name": "vllm",
        "ready": ready,
        "started": ready,
        "restartCount": restarts,
        "state": state,
        "lastState": {"terminated": last} if last else {},
    }


def ended(code: int = 1, reason: str = "Error", seconds: float = 30, message: str = "") -> Object:
    return {"exitCode": code, "reason": reason, "finishedAt": ago(seconds), "message": message}


def crashing(last: Object | None = None) -> Object:
    return status(restarts=3, waiting={"reason": "CrashLoopBackOff"}, last=last or ended())


def event(
    about: Object, reason: str, message: str, *, kind: str = "Warning", age: float = 10, count: int = 1
) -> Object:
    meta = about["metadata"]
    involved = {"kind": about["kind"], "name": meta["name"], "namespace": "llm", "uid": meta["uid"]}
    fields = {"type": kind, "reason": reason, "message": message, "count": count, "lastTimestamp": ago(age)}
    return item("Event", f"{meta['name']}.{reason}", involvedObject=involved, **fields)


def snapshot(
    *items: Object, logs: dict[str, str] | None = None, holders: list[Object] | None = None, **more: Any
) -> Snapshot:
    """A snapshot of these objects; ``logs`` by pod name; every kind counts as read."""
    objects: dict[str, list[Object]] = {kind: [] for kind in API_VERSIONS}
    for each in items:
        objects[each["kind"]].append(each)
    objects |= more.pop("objects", {})
    found = {(f"uid-Pod-{name}", "vllm"): Log(tuple(text.splitlines()), True) for name, text in (logs or {}).items()}
    waiting = [each for each in objects["Pod"]]
    return Snapshot(CONTEXT, NOW, objects, logs=found, holders=waiting if holders is None else holders, **more)


def diagnosed(*items: Object, **more: Any) -> Diagnosis:
    return diagnose(snapshot(*items, **more))


def codes(*items: Object, **more: Any) -> list[str]:
    """Codes of all findings, the worst first."""
    return [finding.code for finding in diagnosed(*items, **more).findings]
