"""What a kubelet says of its node: labels, capacity, conditions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vllm_sandbox.config import GIB, NodeSpec
from vllm_sandbox.node.clock import now
from vllm_sandbox.node.devices import DeviceManager
from vllm_sandbox.versions import KUBERNETES

Object = dict[str, Any]
MANAGED = "sandbox.vllm-runbook.dev/managed"
GPU_FOUND = "feature.node.kubernetes.io/pci-10de.present"
MAX_PODS = 250


@dataclass
class Readiness:
    """The Ready condition.

    Attributes:
        reason: why the node isn't ready, as the kubelet words it; empty when it is.
        since: when that began.
    """

    reason: str = ""
    since: str = field(default_factory=now)

    def set(self, reason: str) -> None:
        self.reason, self.since = reason, now()

    def conditions(self) -> list[Object]:
        """All conditions of the node."""
        ready = ("Ready", "True", "KubeletReady", "kubelet is posting ready status")
        if self.reason:
            ready = ("Ready", "False", "KubeletNotReady", self.reason)
        fine = [
            ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ]
        return [
            {
                "type": kind,
                "status": status,
                "reason": reason,
                "message": message,
                "lastHeartbeatTime": now(),
                "lastTransitionTime": self.since,
            }
            for kind, status, reason, message in [*fine, ready]
        ]


def own_labels(spec: NodeSpec) -> dict[str, str]:
    """What the agent knows of any of its nodes, whoever created the object."""
    labels = {MANAGED: "true"}
    if spec.gpus:  # what Node Feature Discovery finds on a node with an NVIDIA card in it
        labels[GPU_FOUND] = "true"
    return labels


def configured_labels(spec: NodeSpec) -> dict[str, str]:
    """All labels of a node that the sandbox's configuration names."""
    return {
        **own_labels(spec),
        "kubernetes.io/hostname": spec.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "topology.kubernetes.io/zone": spec.zone,
        "topology.kubernetes.io/region": "sandbox",
        "node.kubernetes.io/instance-type": f"sandbox-{spec.gpus}gpu" if spec.gpus else "sandbox-cpu",
        **spec.labels,
    }


def node_status(
    spec: NodeSpec, devices: DeviceManager, volumes_in_use: list[str], kubelet_port: int, readiness: Readiness
) -> Object:
    """The status that the kubelet writes: devices are in it only once a plugin advertised them."""
    own = {
        "cpu": str(spec.cpu),
        "memory": f"{spec.memory_gib * GIB // 1024}Ki",
        "ephemeral-storage": "1Ti",
        "pods": str(MAX_PODS),
    }
    return {
        "capacity": own | devices.capacity,
        "allocatable": own | devices.allocatable,
        # no Hostname: the API server would prefer it for logs, and no DNS of this machine knows it
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet_port}},
        "conditions": readiness.conditions(),
        "volumesInUse": volumes_in_use,
        "nodeInfo": {
            "kubeletVersion": KUBERNETES,
            "kubeProxyVersion": KUBERNETES,
            "containerRuntimeVersion": "sandbox://processes",
            "osImage": "vllm-runbook sandbox (simulated node)",
            "kernelVersion": "",
            "operatingSystem": "linux",
            "architecture": "amd64",
            "machineID": spec.name,
            "systemUUID": spec.name,
            "bootID": spec.name,
        },
    }
