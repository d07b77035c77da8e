"""A pod's status from its containers' states: phase and conditions as the kubelet computes them.

Pure functions on plain dicts. Source: Kubernetes documentation, "Pod lifecycle", and the
kubelet's getPhase.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vllm_sandbox.node.clock import now

Status = dict[str, Any]
#: States that say that a container was started, now or before.
_BEGUN = (("state", "running"), ("state", "terminated"), ("lastState", "terminated"))
_REPLACE = {"$patch": "replace"}  # a strategic merge would keep the addresses of an earlier agent


def is_sidecar(container: Status) -> bool:
    """An init container that keeps running beside the main ones."""
    return container.get("restartPolicy") == "Always"


def is_critical(spec: Status) -> bool:
    """Whether a pod has system-critical priority, and so ends last when its node shuts down."""
    return int(spec.get("priority") or 0) >= 2_000_000_000


def exit_code(status: Status) -> int | None:
    """Exit code of a container that has ended, else None."""
    terminated = status.get("state", {}).get("terminated") or (
        status.get("lastState", {}).get("terminated") if "waiting" in status.get("state", {}) else None
    )
    return terminated["exitCode"] if terminated else None


def initialized(spec: Status, init: Sequence[Status], containers: Sequence[Status]) -> list[str]:
    """Names of the init containers that the pod still waits for: none any more once a main container was started.

    So a sidecar that has ended, as it does after the main containers, is not waited for again (the kubelet's
    HasAnyRegularContainerCreated).
    """
    if any(each in status.get(which, {}) for status in containers for which, each in _BEGUN):
        return []
    by_name = {status["name"]: status for status in init}
    waiting = []
    for container in spec.get("initContainers", []):
        status = by_name.get(container["name"], {})
        done = (
            bool(status.get("started"))
            if is_sidecar(container)
            else status.get("state", {}).get("terminated", {}).get("exitCode") == 0
        )
        if not done:
            waiting.append(container["name"])
    return waiting


def phase(spec: Status, init: Sequence[Status], containers: Sequence[Status]) -> str:
    """Pending, Running, Succeeded or Failed."""
    policy = spec.get("restartPolicy", "Always")
    waiting_for = initialized(spec, init, containers)
    if waiting_for:
        failed = any(s["name"] in waiting_for and exit_code(s) not in (None, 0) for s in init)
        return "Failed" if failed and policy == "Never" else "Pending"
    if any("running" in s["state"] for s in containers):
        return "Running"
    codes = [exit_code(s) for s in containers]
    if any(code is None for code in codes):
        return "Pending" if all(code is None for code in codes) else "Running"
    if policy == "Always":
        return "Running"
    if all(code == 0 for code in codes):
        return "Succeeded"
    return "Failed" if policy == "Never" else "Running"


def conditions(
    spec: Status,
    pod_phase: str,
    init: Sequence[Status],
    containers: Sequence[Status],
    old: Sequence[Status],
    *,
    mounted: bool,
) -> list[Status]:
    """The kubelet's own conditions; times are kept where nothing changed.

    ``old`` holds the pod's conditions now: readiness gates are read from it.
    """
    known = {c["type"]: c for c in old}
    ended = pod_phase in ("Succeeded", "Failed")
    missing_init = initialized(spec, init, containers)
    unready = [s["name"] for s in containers if not s.get("ready")]
    gates = [g["conditionType"] for g in spec.get("readinessGates", [])]
    closed_gates = [g for g in gates if known.get(g, {}).get("status") != "True"]

    unready_message = f"containers with unready status: [{' '.join(unready)}]" if unready else ""
    not_ready = ("PodCompleted", "") if pod_phase == "Succeeded" else ("ContainersNotReady", unready_message)
    init_message = f"containers with incomplete status: [{' '.join(missing_init)}]"

    wanted = [
        ("PodReadyToStartContainers", mounted and not ended, "", ""),
        ("Initialized", not missing_init, *(("ContainersNotInitialized", init_message) if missing_init else ("", ""))),
        ("ContainersReady", not unready and not ended, *(not_ready if unready or ended else ("", ""))),
    ]
    if closed_gates and not unready:
        wanted.append(("Ready", False, "ReadinessGatesNotReady", f"readiness gates not ready: {closed_gates}"))
    else:
        wanted.append(("Ready", not unready and not ended, *(not_ready if unready or ended else ("", ""))))
    return [_condition(known.get(kind), kind, ok, reason, message) for kind, ok, reason, message in wanted]


def _condition(old: Status | None, kind: str, ok: bool, reason: str, message: str) -> Status:
    status = "True" if ok else "False"
    changed = old is None or old["status"] != status
    since = now() if changed or old is None else old.get("lastTransitionTime") or now()
    # null removes a stale reason under a merge patch
    return {
        "type": kind,
        "status": status,
        "lastTransitionTime": since,
        "lastProbeTime": None,
        "reason": reason or None,
        "message": message or None,
    }


def whole(
    pod: Status, pod_phase: str, conditions: Sequence[Status], init: Sequence[Status], containers: Sequence[Status]
) -> Status:
    """The status as a strategic merge patch, without addresses."""
    status: Status = {
        "phase": pod_phase,
        "conditions": list(conditions),
        "hostIP": "127.0.0.1",
        "hostIPs": [_REPLACE, {"ip": "127.0.0.1"}],
        "startTime": pod.get("status", {}).get("startTime") or now(),
        "observedGeneration": pod["metadata"].get("generation"),
        "containerStatuses": list(containers),
    }
    return status | ({"initContainerStatuses": list(init)} if init else {})


def addresses(ip: str) -> Status:
    """The part with the pod's address, once it has one."""
    return {"podIP": ip, "podIPs": [_REPLACE, {"ip": ip}]}


def restarts_before(pod: Status, container: str) -> int:
    """Restarts of a container that were counted before this agent took over the pod."""
    status = pod.get("status", {})
    known = [*status.get("containerStatuses", []), *status.get("initContainerStatuses", [])]
    return next((s["restartCount"] + ("running" in s["state"]) for s in known if s["name"] == container), 0)
