"""Deletes volumes whose claim is gone, as external-provisioner does for reclaim policy Delete."""

from __future__ import annotations

import asyncio

from vllm_sandbox.kube import Kube, Object, path
from vllm_sandbox.node.events import EventRecorder
from vllm_sandbox.volumes import objects
from vllm_sandbox.volumes.directories import Directories
from vllm_sandbox.volumes.finalizers import absent_is_fine, add_finalizer, drop_finalizer
from vllm_sandbox.volumes.informer import Informer
from vllm_sandbox.volumes.names import PROVISIONER_FINALIZER, VOLUMES
from vllm_sandbox.volumes.workqueue import Retry


class Reclaimer:
    """`sync` is called with the name of each volume."""

    def __init__(
        self,
        kube: Kube,
        directories: Directories,
        volumes: Informer,
        attachments: Informer,
        recorder: EventRecorder,
    ) -> None:
        self._kube = kube
        self._directories = directories
        self._volumes = volumes
        self._attachments = attachments
        self._record = recorder

    async def sync(self, name: str) -> None:
        """Delete the volume if its claim is gone and its policy says so; else keep its finalizer right."""
        pv = self._volumes.get(name)
        if pv is None or objects.owner_of(pv) is None:
            return
        policy = pv["spec"]["persistentVolumeReclaimPolicy"]
        if policy == "Delete" and pv.get("status", {}).get("phase") == "Released":
            await self._delete(pv)
            return
        # the finalizer keeps the files and the object together, so only Delete volumes carry it
        held = PROVISIONER_FINALIZER in pv["metadata"].get("finalizers", [])
        if policy == "Delete" and not held and "deletionTimestamp" not in pv["metadata"]:
            await add_finalizer(self._kube, path(VOLUMES, name=name), PROVISIONER_FINALIZER)
        elif policy != "Delete" and held:
            await drop_finalizer(self._kube, path(VOLUMES, name=name), PROVISIONER_FINALIZER)

    async def _delete(self, pv: Object) -> None:
        name = pv["metadata"]["name"]
        for attachment in self._attachments:
            if attachment["spec"]["source"].get("persistentVolumeName") == name:
                node = attachment["spec"]["nodeName"]
                self._fail(pv, f"persistentvolume {name} is still attached to node {node}")
        try:
            await asyncio.to_thread(self._directories.remove, objects.handle_of(pv))
        except OSError as error:
            self._fail(pv, f"rpc error: code = Internal desc = could not delete the volume's files: {error}")
        with absent_is_fine():
            await self._kube.delete(path(VOLUMES, name=name))
        if PROVISIONER_FINALIZER in pv["metadata"].get("finalizers", []):
            await drop_finalizer(self._kube, path(VOLUMES, name=name), PROVISIONER_FINALIZER)

    def _fail(self, pv: Object, message: str) -> None:
        self._record(pv, "Warning", "VolumeFailedDelete", message)
        raise Retry(message)
