"""PersistentVolumeClaims on one node: attach, mount, and say which disks are in use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vllm_sandbox.kube import Kube, path
from vllm_sandbox.volumes.mount import MountedVolume, attachable_name, bound_volume, publish, wait_attached

Object = dict[str, Any]
ATTACH_TIMEOUT_S = 20.0


class NodeClaims:
    """The claims that a node's pods use.

    Args:
        root: directory of all volumes.
        in_use_changed: called when ``in_use`` changes; the node's status must then be written, for
            the attach-detach controller detaches only what no node says it uses.
    """

    def __init__(self, kube: Kube, node: str, root: Path, in_use_changed: Callable[[], None]) -> None:
        self._kube = kube
        self._node = node
        self._root = root
        self._in_use_changed = in_use_changed
        self._users: Counter[str] = Counter()
        self._held: dict[str, dict[str, str]] = {}  # pod uid -> claim -> name in volumesInUse

    @property
    def in_use(self) -> list[str]:
        """Attached volumes that pods of this node use, as node.status.volumesInUse lists them."""
        return sorted(+self._users)

    async def mount(self, pod: Object, claim: str, read_only: bool) -> MountedVolume:
        """Wait until the claim's volume is attached to this node, and say where it is.

        Raises:
            vllm_sandbox.volumes.mount.MountError: not now; the kubelet tries again.
        """
        meta = pod["metadata"]
        volume = await bound_volume(self._kube, meta["namespace"], claim)
        if name := attachable_name(volume):
            held = self._held.setdefault(meta["uid"], {})
            if claim not in held:
                held[claim] = name
                self._users[name] += 1
                self._in_use_changed()
            await wait_attached(self._kube, volume, self._node, ATTACH_TIMEOUT_S)
        node = await self._kube.get(path("nodes", name=self._node))
        return await publish(self._kube, self._root, volume, node, read_only)

    def release(self, pod_uid: str) -> None:
        """The pod has ended: its disks may be detached when nobody else here uses them."""
        held = self._held.pop(pod_uid, {})
        if held:
            self._users.subtract(held.values())
            self._in_use_changed()
