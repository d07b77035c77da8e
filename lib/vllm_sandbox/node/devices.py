"""GPUs of a node: advertised by a device plugin, handed out to containers."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from vllm_sandbox.config import GIB, NodeSpec

GPU = dict[str, Any]


def node_gpus(node: NodeSpec) -> list[GPU]:
    """The GPUs that the node has, whether or not a device plugin advertises them."""
    return [
        {
            "id": f"GPU-{uuid.uuid5(uuid.NAMESPACE_DNS, f'{node.name}/{index}')}",
            "product": node.gpu_product,
            "memory_bytes": node.gpu_memory_gib * GIB,
        }
        for index in range(node.gpus)
    ]


@dataclass(frozen=True)
class Use:
    """What a container does with a GPU.

    Attributes:
        busy: share of the time in which it computes, 0 to 1.
    """

    namespace: str
    pod: str
    container: str
    busy: float
    memory_bytes: int


class NotEnoughDevices(Exception):
    """The node can't give a container the devices that it was scheduled with."""


class DeviceManager:
    """Devices of one node: what plugins registered and which container holds what.

    As the kubelet's: capacity shows what a plugin ever registered, allocatable only what a
    connected plugin says is there.
    """

    def __init__(self, gpus: Iterable[GPU], on_change: Callable[[], None]) -> None:
        self._gpus = {gpu["id"]: gpu for gpu in gpus}
        self._on_change = on_change
        self._known: dict[str, set[str]] = {}
        self._connected: dict[str, set[str]] = {}
        self._held: dict[str, dict[str, list[str]]] = {}  # pod uid -> resource -> ids
        self._used: dict[str, Use] = {}  # by the GPU's id

    def register(self, resource: str, ids: list[str]) -> None:
        """A plugin advertises ``ids``; ids that the node doesn't have are ignored."""
        present = set(ids) & self._gpus.keys()
        self._known[resource] = set(present)
        self._connected[resource] = present
        self._on_change()

    def unregister(self, resource: str) -> None:
        """The plugin's connection is gone: its devices aren't allocatable until it is back."""
        if self._connected.pop(resource, None) is not None:
            self._on_change()

    @property
    def gpus(self) -> list[GPU]:
        """Every GPU that the node has."""
        return list(self._gpus.values())

    @property
    def capacity(self) -> dict[str, str]:
        return {resource: str(len(ids)) for resource, ids in self._known.items()}

    @property
    def allocatable(self) -> dict[str, str]:
        return {resource: str(len(self._connected.get(resource, ()))) for resource in self._known}

    def allocate(self, pod_uid: str, resource: str, count: int) -> list[GPU]:
        """Hand ``count`` free devices to a pod's container.

        Raises:
            NotEnoughDevices: fewer are free, as the kubelet says it.
        """
        taken = {i for held in self._held.values() for i in held.get(resource, [])}
        free = sorted(self._connected.get(resource, set()) - taken)
        if len(free) < count:
            raise NotEnoughDevices(
                f"Allocate failed due to requested number of devices unavailable for {resource}. "
                f"Requested: {count}, Available: {len(free)}, which is unexpected"
            )
        self._held.setdefault(pod_uid, {}).setdefault(resource, []).extend(free[:count])
        return [self._gpus[i] for i in free[:count]]

    def release(self, pod_uid: str) -> None:
        """The pod has ended: its devices are free."""
        held = self._held.pop(pod_uid, {})
        for number in (number for ids in held.values() for number in ids):
            self._used.pop(number, None)

    def use(self, gpus: Iterable[GPU], use: Use) -> None:
        """A container has these GPUs, and does this with each of them."""
        for gpu in gpus:
            self._used[gpu["id"]] = use

    def readings(self) -> list[GPU]:
        """Every GPU of the node in order: who has it, how busy it is, and how much of its memory is used."""
        idle = Use("", "", "", 0.0, 0)
        return [{**gpu, "use": vars(self._used.get(number, idle))} for number, gpu in self._gpus.items()]


def environment(gpus: list[GPU]) -> dict[str, str]:
    """What a container sees of its GPUs."""
    return {
        "SANDBOX_GPUS": json.dumps(gpus),
        "NVIDIA_VISIBLE_DEVICES": ",".join(gpu["id"] for gpu in gpus) or "void",
    }
