"""How the nodes of each platform look: what the provider sets, and what the examples in manifests/spot add.

Sources: docs/platforms.md. Four nodes each: with the GPUs that were sized for (one, so that a second server has to go
elsewhere), the same on spot, with smaller GPUs, and without any.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vllm_sandbox.node.adoption import GPU_MEMORY, GPU_PRODUCT, GPUS

A100, GPU_TAINT = "NVIDIA-A100-SXM4-80GB", "nvidia.com/gpu=present"
ROLES = ("gpu", "spot", "small", "cpu")


@dataclass(frozen=True)
class Look:
    """One platform's nodes.

    Attributes:
        types: instance type by role; a role that isn't there has no node.
        zone, region: of the first node; the others are in the next zones (``{}`` is a letter).
        provider: start of the providerID.
        labels, taints: by role, ``gpus`` for every node with GPUs; a taint is ``key=value`` (NoSchedule).
        product, small: GPU product and MiB, and those of the role ``small``.
        more: what else the platform makes by itself.
    """

    types: dict[str, str]
    zone: str
    region: str
    provider: str
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    taints: dict[str, tuple[str, ...]] = field(default_factory=dict)
    product: tuple[str, int] = (A100, 81920)
    small: tuple[str, int] = ("NVIDIA-A10G", 23028)
    more: tuple[dict[str, Any], ...] = ()

    def nodes(self, platform: str) -> list[dict[str, Any]]:
        """The Node objects, as a cloud's kubelet would register them."""
        return [self._node(platform, role) for role in ROLES if role in self.types]

    def _node(self, platform: str, role: str) -> dict[str, Any]:
        name, groups = f"{platform}-{role}", (role, *(("gpus",) if role != "cpu" else ()))
        labels = {
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            "node.kubernetes.io/instance-type": self.types[role],
        }
        if self.zone:
            labels["topology.kubernetes.io/zone"] = self.zone.format("abcd"[ROLES.index(role)])
            labels["topology.kubernetes.io/region"] = self.region
        if role != "cpu":  # what the simulated GPUs are; GPU Feature Discovery would set the same
            product, memory = self.small if role == "small" else self.product
            labels |= {GPU_PRODUCT: product, GPU_MEMORY: str(memory)}
        taints = [each.partition("=") for group in groups for each in self.taints.get(group, ())]
        own = {"cpu": "96", "memory": "680Gi", "pods": "110"}
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": name,
                "annotations": {GPUS: "0" if role == "cpu" else "1"},
                "labels": labels | {k: v for group in groups for k, v in self.labels.get(group, {}).items()},
            },
            "spec": {
                "providerID": f"{self.provider}/{name}",
                "taints": [{"key": key, "value": value, "effect": "NoSchedule"} for key, _, value in taints],
            },
            "status": {"capacity": own, "allocatable": own},
        }


LOOKS = {
    "sandbox": Look(
        types={"gpu": "sandbox-4gpu", "spot": "sandbox-4gpu", "cpu": "sandbox-cpu"},
        zone="sandbox-{}",
        region="sandbox",
        provider="sandbox://",
        labels={"spot": {"karpenter.sh/capacity-type": "spot"}},
        taints={"spot": (GPU_TAINT,)},
    ),
    "k3s": Look(
        types={"gpu": "k3s", "cpu": "k3s"},
        zone="",
        region="",
        provider="k3s://",
        labels={"cpu": {"node-role.kubernetes.io/control-plane": "true"}},
        product=("NVIDIA-GeForce-RTX-4090", 24564),
        more=(
            {
                "apiVersion": "node.k8s.io/v1",
                "kind": "RuntimeClass",
                "metadata": {"name": "nvidia"},
                "handler": "nvidia",
            },
        ),
    ),
    "eks": Look(
        types={"gpu": "p4de.24xlarge", "spot": "p5.48xlarge", "small": "g5.12xlarge", "cpu": "m7i.4xlarge"},
        zone="us-east-1{}",
        region="us-east-1",
        provider="aws:///us-east-1",
        labels={
            "gpu": {"eks.amazonaws.com/nodegroup": "gpu-on-demand", "eks.amazonaws.com/capacityType": "ON_DEMAND"},
            "spot": {"eks.amazonaws.com/nodegroup": "gpu-spot", "eks.amazonaws.com/capacityType": "SPOT"},
            "small": {"eks.amazonaws.com/nodegroup": "a10g", "eks.amazonaws.com/capacityType": "ON_DEMAND"},
            "cpu": {"eks.amazonaws.com/nodegroup": "cpu", "eks.amazonaws.com/capacityType": "ON_DEMAND"},
        },
        taints={"gpus": (GPU_TAINT,)},
    ),
    "gke": Look(
        types={"gpu": "a2-ultragpu-1g", "spot": "a2-ultragpu-1g", "small": "a2-highgpu-1g", "cpu": "e2-standard-16"},
        zone="us-central1-{}",
        region="us-central1",
        provider="gce://project/us-central1",
        labels={
            "gpus": {"cloud.google.com/machine-family": "a2", "cloud.google.com/gke-gpu": "true"},
            "gpu": {"cloud.google.com/gke-accelerator": "nvidia-a100-80gb", "cloud.google.com/gke-nodepool": "gpu"},
            "spot": {
                "cloud.google.com/gke-accelerator": "nvidia-a100-80gb",
                "cloud.google.com/gke-nodepool": "gpu-spot",
                "cloud.google.com/gke-spot": "true",
                "cloud.google.com/gke-provisioning": "spot",
            },
            "small": {"cloud.google.com/gke-accelerator": "nvidia-tesla-a100"},
            "cpu": {"cloud.google.com/machine-family": "e2", "cloud.google.com/gke-nodepool": "default-pool"},
        },
        taints={"gpus": (GPU_TAINT,), "spot": ("cloud.google.com/gke-spot=true",)},
        small=("NVIDIA-A100-SXM4-40GB", 40960),
    ),
    "aks": Look(
        types={
            "gpu": "Standard_NC24ads_A100_v4",
            "spot": "Standard_NC24ads_A100_v4",
            "small": "Standard_NC4as_T4_v3",
            "cpu": "Standard_D16s_v5",
        },
        zone="westeurope-{}",
        region="westeurope",
        provider="azure:///subscriptions/s/resourceGroups/g",
        labels={
            "gpus": {"kubernetes.azure.com/accelerator": "nvidia"},
            "gpu": {"kubernetes.azure.com/agentpool": "gpuod"},
            "spot": {
                "kubernetes.azure.com/agentpool": "gpuspot",
                "kubernetes.azure.com/scalesetpriority": "spot",
            },
            "cpu": {"kubernetes.azure.com/agentpool": "system", "kubernetes.azure.com/mode": "system"},
        },
        taints={
            "gpu": ("sku=gpu",),  # of AKS's GPU guide
            "spot": (GPU_TAINT, "kubernetes.azure.com/scalesetpriority=spot"),
            "small": (GPU_TAINT,),
        },
        product=("NVIDIA-A100-80GB-PCIe", 81920),
        small=("Tesla-T4", 15360),
    ),
}
