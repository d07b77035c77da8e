"""The node's side of a volume: what a CSI driver's node plugin does, with directories for mounts.

The node agent, like the kubelet, lists a block disk in ``node.status.volumesInUse`` before it mounts it
and as long as it is mounted (`attachable_name`), waits until it is attached (`wait_attached`), and then asks
for its directory (`publish`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from vllm_sandbox.kube import ApiError, Kube, Object, path
from vllm_sandbox.volumes import objects
from vllm_sandbox.volumes.directories import Directories, used_bytes
from vllm_sandbox.volumes.names import (
    ATTACHMENTS,
    BLOCK,
    CLAIMS,
    CSI_DRIVERS,
    SANDBOX_SCALE,
    VOLUMES,
    attachable_name,
    attachment_name,
)

__all__ = [
    "MountError",
    "MountedVolume",
    "NotAttached",
    "NotBound",
    "UnsupportedVolume",
    "VolumeMissing",
    "WrongNode",
    "attachable_name",
    "bound_volume",
    "publish",
    "wait_attached",
]


class MountError(Exception):
    """A volume can't be mounted now; the text is fit for a FailedMount event.

    Attributes:
        volume: name of the claim or the volume.
    """

    def __init__(self, volume: str, message: str) -> None:
        super().__init__(message)
        self.volume = volume


class NotBound(MountError):
    """The claim has no volume yet, or doesn't exist."""


class NotAttached(MountError):
    """The disk is not attached to the node (yet)."""


class WrongNode(MountError):
    """The volume's node affinity excludes the node."""


class VolumeMissing(MountError):
    """No files belong to the volume's handle."""


class UnsupportedVolume(MountError):
    """The volume is of a driver or type that the sandbox doesn't play."""


@dataclass(frozen=True)
class MountedVolume:
    """A volume that a container may use.

    Attributes:
        path: directory with its files.
        read_only: whether the mount must refuse writes.
        capacity_bytes: how many bytes of sandbox files fit in: the stated capacity / SANDBOX_SCALE.
        in_use_name: its name in ``node.status.volumesInUse``, or None if it isn't attached.
    """

    path: Path
    read_only: bool
    capacity_bytes: int
    in_use_name: str | None

    def remaining_bytes(self) -> int:
        """Sandbox bytes that can still be written, never below 0. Walks the tree: call it in a thread."""
        return max(0, self.capacity_bytes - used_bytes(self.path))


async def bound_volume(kube: Kube, namespace: str, claim_name: str) -> Object:
    """The PersistentVolume of a claim.

    Raises:
        NotBound: there is no such claim, or it waits for its volume.
    """
    try:
        claim = await kube.get(path(CLAIMS, namespace, claim_name))
    except ApiError as error:
        if error.code != 404:
            raise
        raise NotBound(claim_name, f'persistentvolumeclaim "{claim_name}" not found') from error
    if claim["status"].get("phase") != "Bound":
        raise NotBound(
            claim_name,
            f'persistentvolumeclaim "{claim_name}" is not bound: it is {claim["status"].get("phase", "Pending")}',
        )
    try:
        return await kube.get(path(VOLUMES, name=claim["spec"]["volumeName"]))
    except ApiError as error:
        if error.code != 404:
            raise
        raise NotBound(claim_name, f'persistentvolume "{claim["spec"]["volumeName"]}" not found') from error


async def publish(
    kube: Kube, volume_dir_root: Path, pv: Object, node: Object, read_only: bool = False
) -> MountedVolume:
    """Check that a volume may be used on a node, and say where its files are.

    Args:
        volume_dir_root: directory of all volumes, ``<state>/volumes``.
        pv: a bound PersistentVolume.
        node: the Node object, for its name and labels.
        read_only: whether the pod's volume asks for it; volumes for readers only are so in any case.

    Raises:
        WrongNode, NotAttached, VolumeMissing, UnsupportedVolume: why not; each is a MountError.
    """
    name, spec = pv["metadata"]["name"], pv["spec"]
    _check_supported(pv)
    if not _admits(spec.get("nodeAffinity", {}), node["metadata"].get("labels", {})):
        raise WrongNode(name, f'volume "{name}" can\'t be used on node {node["metadata"]["name"]}: node affinity')
    if attachable_name(pv):
        await _check_attached(kube, pv, node["metadata"]["name"])
    directories = Directories(volume_dir_root)
    handle = objects.handle_of(pv)
    try:
        found = directories.exists(handle)
    except ValueError as error:
        raise VolumeMissing(name, str(error)) from error
    if not found:
        raise VolumeMissing(name, f'volume "{name}": nothing is stored under its handle {handle!r}')
    return MountedVolume(
        path=directories.path(handle),
        read_only=read_only or bool(spec.get("csi", {}).get("readOnly")) or spec["accessModes"] == ["ReadOnlyMany"],
        capacity_bytes=objects.capacity_bytes(pv) // SANDBOX_SCALE,
        in_use_name=attachable_name(pv),
    )


async def wait_attached(kube: Kube, pv: Object, node_name: str, timeout_s: float) -> None:
    """Return when the disk is attached to the node; at once for volumes that need no attaching.

    Raises:
        NotAttached: not within ``timeout_s`` (the kubelet waits 123 s before it reports that).
    """
    if attachable_name(pv) is None:
        return
    done = asyncio.Event()

    def changed(event: str, item: Object) -> None:
        if event != "DELETED" and _is_attached(item):
            done.set()

    name = attachment_name(objects.handle_of(pv), BLOCK, node_name)
    watcher = asyncio.create_task(kube.follow(path(ATTACHMENTS), changed, fieldSelector=f"metadata.name={name}"))
    try:
        async with asyncio.timeout(timeout_s):
            await done.wait()
    except TimeoutError as error:
        await _check_attached(kube, pv, node_name)
        raise NotAttached(pv["metadata"]["name"], f'volume "{pv["metadata"]["name"]}" was attached too late') from error
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)


async def _check_attached(kube: Kube, pv: Object, node_name: str) -> None:
    name = pv["metadata"]["name"]
    trouble = f'volume "{name}" is not attached to node {node_name}'
    try:
        item = await kube.get(path(ATTACHMENTS, name=attachment_name(objects.handle_of(pv), BLOCK, node_name)))
    except ApiError as error:
        if error.code != 404:
            raise
        raise NotAttached(name, f"{trouble}: no VolumeAttachment; see the pod's FailedAttachVolume events") from error
    if "deletionTimestamp" in item["metadata"]:
        raise NotAttached(name, f"{trouble}: it is being detached")
    if not _is_attached(item):
        error_text = (item.get("status", {}).get("attachError") or {}).get("message")
        raise NotAttached(name, f"{trouble}: {error_text or 'the attacher has not answered yet'}")


def _is_attached(attachment: Object) -> bool:
    leaving = "deletionTimestamp" in attachment["metadata"]
    return bool(attachment.get("status", {}).get("attached")) and not leaving


def _check_supported(pv: Object) -> None:
    driver = pv["spec"].get("csi", {}).get("driver")
    if driver in CSI_DRIVERS or objects.owner_of(pv):
        return
    name = pv["metadata"]["name"]
    what = f"driver {driver}" if driver else "its volume type"
    raise UnsupportedVolume(
        name, f'volume "{name}": the sandbox doesn\'t play {what}; use a claim of one of its storage classes'
    )


def _admits(affinity: Object, labels: dict[str, str]) -> bool:
    """Whether a volume's required node affinity holds for a node's labels (operators In, NotIn, Exists, …)."""
    terms = affinity.get("required", {}).get("nodeSelectorTerms")
    return terms is None or any(all(_matches(e, labels) for e in t.get("matchExpressions", [])) for t in terms)


def _matches(expression: Object, labels: dict[str, str]) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values", [])
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt":
            return value is not None and int(value) > int(values[0])
        case _:
            return value is not None and int(value) < int(values[0])
