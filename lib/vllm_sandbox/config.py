"""What a sandbox consists of: its nodes, its time scale and the address ranges it lives in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field

GIB = 2**30
ENGINES = ("simulated", "vllm")
PROXY_PORT = 3128


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Taint(_Strict):
    key: str
    value: str = ""
    effect: str = "NoSchedule"


class NodeSpec(_Strict):
    """One simulated node. Memory in GiB, GPU memory in GiB per GPU."""

    name: str
    cpu: Annotated[int, Field(gt=0)] = 64
    memory_gib: Annotated[int, Field(gt=0)] = 512
    gpus: Annotated[int, Field(ge=0)] = 0
    gpu_product: str = "NVIDIA-A100-SXM4-80GB"
    gpu_memory_gib: Annotated[int, Field(gt=0)] = 80
    labels: dict[str, str] = {}
    taints: tuple[Taint, ...] = ()
    zone: str = "sandbox-a"


def default_nodes() -> tuple[NodeSpec, ...]:
    """One CPU node and three GPU nodes with four 80 GiB GPUs each, in three zones."""
    gpu_nodes = tuple(NodeSpec(name=f"gpu-{i}", gpus=4, zone=f"sandbox-{z}") for i, z in enumerate("abc"))
    return (NodeSpec(name="cpu-0"), *gpu_nodes)


class SandboxConfig(_Strict):
    """Everything that ``runbook sandbox up`` can be told.

    Attributes:
        nodes: the simulated nodes.
        time_scale: durations that take minutes in reality (loading weights) are divided by it.
        slot: which address ranges this sandbox uses, so that several live side by side: pods
            get ``10.(244-slot).0.0/16``, Services ``10.(96+slot).0.0/16``, each served on the
            loopback address with first octet 127.
        images: Python modules that register images of the user's own (docs/images.md).
        node_grace_seconds: silence after which the controller manager takes a node for lost.
        engine: what pods of vllm/vllm-openai run: the simulated server, or the real one on this machine's CPU.
    """

    nodes: tuple[NodeSpec, ...] = Field(default_factory=default_nodes)
    time_scale: Annotated[float, Field(ge=1)] = 20
    slot: Annotated[int, Field(ge=0, le=31)] = 0
    images: tuple[str, ...] = ()
    # nodes renew their lease every 5 s: four misses, and a dead node shows in time for a drill
    node_grace_seconds: Annotated[int, Field(ge=10)] = 20
    engine: Literal["simulated", "vllm"] = "simulated"

    @property
    def pod_cidr(self) -> str:
        return f"10.{244 - self.slot}.0.0/16"

    @property
    def service_cidr(self) -> str:
        return f"10.{96 + self.slot}.0.0/16"

    @property
    def proxy_host(self) -> str:
        """Loopback address of the sandbox's proxy: its own per sandbox, on port 3128."""
        return f"127.{244 - self.slot}.255.254"

    @classmethod
    def load(cls, file: Path) -> Self:
        return cls.model_validate(yaml.safe_load(file.read_text()) or {})
