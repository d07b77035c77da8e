"""Attaches block disks to nodes, as external-attacher does with a CSI driver.

The attach-detach controller decides: it writes a VolumeAttachment per disk and node, refuses a second node
for a disk of one writer (Multi-Attach error), and deletes the VolumeAttachment to detach.
"""

from __future__ import annotations

from vllm_sandbox.kube import Kube, Object, path
from vllm_sandbox.volumes.directories import Directories
from vllm_sandbox.volumes.finalizers import add_finalizer, drop_finalizer
from vllm_sandbox.volumes.informer import Informer
from vllm_sandbox.volumes.names import (
    ATTACHER_FINALIZER,
    ATTACHER_NODE_ID,
    ATTACHMENTS,
    BLOCK,
    VOLUMES,
)
from vllm_sandbox.volumes.objects import handle_of
from vllm_sandbox.volumes.workqueue import Retry


class AttachError(Exception):
    """Why a disk can't be attached; shown by the attach-detach controller as FailedAttachVolume."""


class Attacher:
    """`sync` is called with the name of each VolumeAttachment, `sync_volume` with that of each volume."""

    def __init__(
        self, kube: Kube, directories: Directories, attachments: Informer, volumes: Informer, csi_nodes: Informer
    ) -> None:
        self._kube = kube
        self._directories = directories
        self._attachments = attachments
        self._volumes = volumes
        self._csi_nodes = csi_nodes

    async def sync(self, name: str) -> None:
        """Attach or detach; raises Retry after an error that was written into the status."""
        item = self._attachments.get(name)
        if item is None or item["spec"]["attacher"] != BLOCK:
            return
        url = path(ATTACHMENTS, name=name)
        if "deletionTimestamp" in item["metadata"]:
            if ATTACHER_FINALIZER in item["metadata"].get("finalizers", []):
                await drop_finalizer(self._kube, url, ATTACHER_FINALIZER)
            return
        if item.get("status", {}).get("attached"):
            return
        try:
            node_id = await self._attach(item)
        except AttachError as error:
            known = (item.get("status", {}).get("attachError") or {}).get("message")
            if known != str(error):  # an unchanged status makes no event, and so no loop
                await self._kube.patch(url + "/status", {"status": {"attachError": {"message": str(error)}}})
            raise Retry from error
        await self._kube.patch(url, {"metadata": {"annotations": {ATTACHER_NODE_ID: node_id}}})
        await add_finalizer(self._kube, url, ATTACHER_FINALIZER)
        await self._kube.patch(url + "/status", {"status": {"attached": True, "attachError": None}})

    async def _attach(self, item: Object) -> str:
        """Check that the disk can go to the node and hold its volume; returns the node's id."""
        volume_name, node_name = item["spec"]["source"].get("persistentVolumeName", ""), item["spec"]["nodeName"]
        pv = self._volumes.get(volume_name)
        if pv is None:
            raise AttachError(f'persistentvolume "{volume_name}" not found')
        if "deletionTimestamp" in pv["metadata"]:
            raise AttachError(f'PersistentVolume "{volume_name}" is marked for deletion')
        csi_node = self._csi_nodes.get(node_name)
        drivers = {d["name"]: d["nodeID"] for d in csi_node["spec"].get("drivers") or []} if csi_node else {}
        if BLOCK not in drivers:
            raise AttachError(f"CSINode {node_name} does not contain driver {BLOCK}")
        handle = handle_of(pv)
        try:
            found = self._directories.exists(handle)
        except ValueError as error:
            raise AttachError(f"rpc error: code = InvalidArgument desc = {error}") from error
        if not found:
            raise AttachError(f"rpc error: code = NotFound desc = there is no disk {handle!r}")
        if ATTACHER_FINALIZER not in pv["metadata"].get("finalizers", []):
            await add_finalizer(self._kube, path(VOLUMES, name=volume_name), ATTACHER_FINALIZER)
        return str(drivers[BLOCK])

    async def sync_volume(self, name: str) -> None:
        """Let a volume go that is being deleted and attached nowhere."""
        pv = self._volumes.get(name)
        if pv is None or "deletionTimestamp" not in pv["metadata"]:
            return
        attached = any(a["spec"]["source"].get("persistentVolumeName") == name for a in self._attachments)
        if not attached and ATTACHER_FINALIZER in pv["metadata"].get("finalizers", []):
            await drop_finalizer(self._kube, path(VOLUMES, name=name), ATTACHER_FINALIZER)
