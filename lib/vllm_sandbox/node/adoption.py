"""Nodes that somebody else creates and the agent then plays: those of Karpenter's kwok provider, and those that ask.

That provider is Karpenter without a cloud: where a cloud's would start an instance, it only creates the Node object.
Source: sigs.k8s.io/karpenter/kwok/cloudprovider. A Node that anybody creates asks for it by saying how many GPUs its
machine has (annotation :data:`GPUS`; labels, taints, cpu and memory are its own): so a sandbox gets nodes like those of
any platform, and loses them again with ``kubectl delete node``.
"""

from __future__ import annotations

import math
from typing import Any

from vllm_sandbox.config import GIB, NodeSpec
from vllm_sandbox.node.quantity import parse

Object = dict[str, Any]

GPU = "nvidia.com/gpu"
GPU_PRODUCT = "nvidia.com/gpu.product"
GPU_MEMORY = "nvidia.com/gpu.memory"  # MiB, as GPU Feature Discovery says it
ZONE = "topology.kubernetes.io/zone"

PROVIDER = "kwok://"
NODEPOOL = "karpenter.sh/nodepool"
GPUS = "sandbox.vllm-runbook.dev/gpus"
"""Annotation of an adopted node: how many GPUs its machine has. Its status says so only once a plugin runs."""


def is_adoptable(node: Object) -> bool:
    """Whether Karpenter's kwok provider made this node, or it asks to be played.

    KWOK's own nodes (the crowd) carry the annotation ``kwok.x-k8s.io/node: fake`` as well, but no provider's id.
    """
    meta = node["metadata"]
    if "deletionTimestamp" in meta:
        return False
    karpenters = node["spec"].get("providerID", "").startswith(PROVIDER) and NODEPOOL in meta.get("labels", {})
    return karpenters or GPUS in meta.get("annotations", {})


def spec_of(node: Object) -> NodeSpec:
    """The machine that a node's instance type stands for.

    Processor and memory are what the provider says is allocatable, rounded up: it subtracts what a kubelet reserves.
    """
    labels = node["metadata"].get("labels", {})
    has = node.get("status", {}).get("allocatable", {})
    gpus = node["metadata"].get("annotations", {}).get(GPUS) or has.get(GPU, 0)
    of_gpu: dict[str, Any] = {}
    if product := labels.get(GPU_PRODUCT):
        of_gpu["gpu_product"] = product
    if memory := labels.get(GPU_MEMORY):
        of_gpu["gpu_memory_gib"] = math.ceil(int(memory) / 1024)
    return NodeSpec(
        name=node["metadata"]["name"],
        cpu=math.ceil(parse(has.get("cpu", 1))),
        memory_gib=math.ceil(parse(has.get("memory", "1Gi")) / GIB),
        gpus=int(parse(gpus)),
        zone=labels.get(ZONE, "sandbox-a"),
        **of_gpu,
    )
