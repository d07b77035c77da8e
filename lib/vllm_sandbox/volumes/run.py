"""Starts all volume controllers and keeps them running."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from vllm_sandbox.config import SandboxConfig
from vllm_sandbox.kube import Kube
from vllm_sandbox.node.events import EventRecorder
from vllm_sandbox.volumes import names
from vllm_sandbox.volumes.attacher import Attacher
from vllm_sandbox.volumes.classes import apply_classes
from vllm_sandbox.volumes.csinodes import CsiNodes
from vllm_sandbox.volumes.directories import Directories
from vllm_sandbox.volumes.informer import Informer
from vllm_sandbox.volumes.provisioner import Provisioner
from vllm_sandbox.volumes.reclaimer import Reclaimer
from vllm_sandbox.volumes.resizer import Resizer
from vllm_sandbox.volumes.workqueue import Workqueue

COMPONENT = "sandbox-csi-controller"
VOLUMES_DIRECTORY = "volumes"


@dataclass(frozen=True)
class Volumes:
    """The running controllers.

    Attributes:
        root: directory of all volumes; what `mount.publish` wants.
    """

    root: Path


class _Informers:
    """Local copies of all that the controllers look at."""

    def __init__(self, kube: Kube) -> None:
        self.claims = Informer(kube, names.CLAIMS, "PersistentVolumeClaim")
        self.volumes = Informer(kube, names.VOLUMES, "PersistentVolume")
        self.classes = Informer(kube, names.CLASSES, "StorageClass")
        self.nodes = Informer(kube, names.NODES, "Node")
        self.csi_nodes = Informer(kube, names.CSI_NODES, "CSINode")
        self.attachments = Informer(kube, names.ATTACHMENTS, "VolumeAttachment")

    def all(self) -> tuple[Informer, ...]:
        return (self.claims, self.volumes, self.classes, self.nodes, self.csi_nodes, self.attachments)


@contextlib.asynccontextmanager
async def running_volumes(kube: Kube, config: SandboxConfig, state_dir: Path) -> AsyncIterator[Volumes]:
    """Apply the storage classes and run the controllers until the block ends.

    Everything is derived from the cluster's objects, so it resumes where an earlier run stopped.
    """
    directories = Directories(state_dir / VOLUMES_DIRECTORY)
    await asyncio.to_thread(directories.sweep)
    await apply_classes(kube)
    informers = _Informers(kube)
    queues = _wire(kube, config, directories, informers)
    followers = [asyncio.create_task(informer.run()) for informer in informers.all()]
    try:
        for informer in informers.all():
            await informer.synced.wait()
        for queue in queues:
            queue.open()
        yield Volumes(directories.root)
    finally:
        for task in followers:
            task.cancel()
        await asyncio.gather(*followers, return_exceptions=True)
        for queue in queues:
            await queue.close()


def _wire(kube: Kube, config: SandboxConfig, directories: Directories, on: _Informers) -> list[Workqueue]:
    """Make the controllers, each with a queue fed by the objects that concern it."""
    record = EventRecorder(kube, COMPONENT)
    provisioner = Provisioner(kube, directories, on.claims, on.classes, on.volumes, on.nodes, record)
    reclaimer = Reclaimer(kube, directories, on.volumes, on.attachments, record)
    resizer = Resizer(kube, on.claims, on.volumes, record)
    attacher = Attacher(kube, directories, on.attachments, on.volumes, on.csi_nodes)
    csi_nodes = CsiNodes(kube, on.nodes, on.csi_nodes)

    def queue(sync: Callable[[str], Awaitable[None]], *sources: Informer) -> Workqueue:
        made = Workqueue(sync, config.time_scale)
        for source in sources:
            source.on_change(made.add)
        return made

    provision = queue(provisioner.sync, on.claims)
    reclaim = queue(reclaimer.sync, on.volumes)
    release = queue(attacher.sync_volume, on.volumes)

    def detached(name: str) -> None:
        """A volume may be waiting for the end of its attachment: `name` is gone from the informer then."""
        if on.attachments.get(name) is None:
            for pv in on.volumes:
                if "deletionTimestamp" in pv["metadata"] or pv.get("status", {}).get("phase") == "Released":
                    reclaim.add(pv["metadata"]["name"])
                    release.add(pv["metadata"]["name"])

    def class_changed(name: str) -> None:
        """Claims may have been waiting for this class."""
        for claim in on.claims:
            if claim["spec"].get("storageClassName") == name and not claim["spec"].get("volumeName"):
                provision.add(f"{claim['metadata']['namespace']}/{claim['metadata']['name']}")

    on.attachments.on_change(detached)
    on.classes.on_change(class_changed)
    return [
        provision,
        reclaim,
        release,
        queue(resizer.sync, on.claims),
        queue(attacher.sync, on.attachments),
        queue(csi_nodes.sync, on.nodes, on.csi_nodes),
    ]
