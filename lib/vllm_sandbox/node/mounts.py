"""A pod's volumes as directories of this machine."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllm_sandbox.kube import ApiError, Kube, path
from vllm_sandbox.node.environment import contents, field, resource
from vllm_sandbox.volumes import mount
from vllm_sandbox.volumes.mount import MountedVolume

Object = dict[str, Any]
Claim = Callable[[str, bool], Awaitable[MountedVolume]]
"""``claim(pvc_name, read_only)``: a bound, attached volume."""


class MountError(Exception):
    """A volume can't be set up now; the kubelet tries again.

    Attributes:
        reason: the event's reason, such as FailedMount or FailedAttachVolume.
    """

    def __init__(self, message: str, reason: str = "FailedMount") -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Mount:
    """A volume in a container: where it sees it, where it is, whether it may write."""

    path: str
    target: Path
    read_only: bool


class PodVolumes:
    """All volumes of one pod.

    Args:
        root: the pod's own directory.
        node_root: what stands for the node's file system (hostPath volumes lie below it).
    """

    def __init__(self, kube: Kube, pod: Object, root: Path, node_root: Path, claim: Claim) -> None:
        self._kube = kube
        self._pod = pod
        self._root = root
        self._node_root = node_root
        self._claim = claim
        self._targets: dict[str, Path] = {}
        self._read_only: set[str] = set()
        self._claimed: dict[Path, MountedVolume] = {}

    async def prepare(self) -> None:
        """Set up every volume; raises MountError naming the one that isn't ready."""
        for volume in self._pod["spec"].get("volumes", []):
            self._targets[volume["name"]] = await self._one(volume)

    async def refresh(self) -> None:
        """Project ConfigMaps, Secrets and tokens anew, as the kubelet does while a pod runs."""
        for volume in self._pod["spec"].get("volumes", []):
            if volume.keys() & {"configMap", "secret", "projected", "downwardAPI"}:
                await self._one(volume)

    def of(self, container: Object) -> list[Mount]:
        """The mounts of one container."""
        mounts = []
        for spec in container.get("volumeMounts", []):
            target = self._targets[spec["name"]]
            if sub := spec.get("subPath"):
                target = target / sub
                if not target.exists():
                    target.mkdir(parents=True)
            read_only = spec.get("readOnly", False) or spec["name"] in self._read_only
            mounts.append(Mount(spec["mountPath"], target, read_only))
        return mounts

    async def file_limit(self, mounts: list[Mount]) -> int | None:
        """Bytes left on the fullest volume that these mounts may write to; None without one.

        The sandbox's volumes are directories of one disk: a file that grows beyond what its volume
        has left fails with EFBIG, where a full disk fails with ENOSPC.
        """
        writable = [m.target for m in mounts if not m.read_only]
        volumes = [v for at, v in self._claimed.items() if any(t.is_relative_to(at) for t in writable)]
        left = [await asyncio.to_thread(volume.remaining_bytes) for volume in volumes]
        return min(left, default=None)

    async def _one(self, volume: Object) -> Path:
        name = volume["name"]
        target: Path = self._root / "volumes" / name
        if ref := volume.get("persistentVolumeClaim"):
            return await self._persistent(name, ref)
        if ref := volume.get("hostPath"):
            return self._host_path(ref)
        target.mkdir(parents=True, exist_ok=True)
        if "emptyDir" in volume or "ephemeral" in volume:
            return target
        files = await self._files(volume)
        self._read_only.add(name)
        for relative, data in files.items():
            _write(target / relative, data)
        return target

    async def _persistent(self, name: str, ref: Object) -> Path:
        try:
            volume = await self._claim(ref["claimName"], bool(ref.get("readOnly")))
        except mount.MountError as error:
            raise MountError(f'MountVolume.SetUp failed for volume "{name}" : {error}') from error
        if volume.read_only:
            self._read_only.add(name)
        self._claimed[volume.path] = volume
        return volume.path

    async def _files(self, volume: Object) -> dict[str, bytes]:
        if "projected" in volume:
            files: dict[str, bytes] = {}
            for source in volume["projected"]["sources"]:
                files |= await self._source(volume["name"], source)
            return files
        if secret := volume.get("secret"):
            volume = {**volume, "secret": {**secret, "name": secret.get("secretName")}}
        return await self._source(volume["name"], volume)

    async def _source(self, volume: str, source: Object) -> dict[str, bytes]:
        if ref := source.get("serviceAccountToken"):
            return {ref["path"]: (await self._token(ref)).encode()}
        if ref := source.get("downwardAPI"):
            return {item["path"]: self._downward(item).encode() for item in ref.get("items", [])}
        for kind, key in (("configmaps", "configMap"), ("secrets", "secret")):
            if ref := source.get(key):
                return await self._keys(volume, kind, ref)
        raise MountError(f'MountVolume.SetUp failed for volume "{volume}": the sandbox has no such volume type')

    async def _keys(self, volume: str, kind: str, ref: Object) -> dict[str, bytes]:
        namespace = self._pod["metadata"]["namespace"]
        try:
            data = contents(await self._kube.get(path(kind, namespace, ref["name"])))
        except ApiError as error:
            if error.code == 404 and ref.get("optional"):
                return {}
            raise MountError(f'MountVolume.SetUp failed for volume "{volume}" : {error.message}') from error
        if not (items := ref.get("items")):
            return data
        missing = [item["key"] for item in items if item["key"] not in data]
        if missing and not ref.get("optional"):
            raise MountError(
                f'MountVolume.SetUp failed for volume "{volume}" : references non-existent key: {missing[0]}'
            )
        return {item["path"]: data[item["key"]] for item in items if item["key"] in data}

    async def _token(self, ref: Object) -> str:
        meta = self._pod["metadata"]
        account = self._pod["spec"].get("serviceAccountName", "default")
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": [ref["audience"]] if ref.get("audience") else [],
                "expirationSeconds": ref.get("expirationSeconds", 3600),
                "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": meta["name"], "uid": meta["uid"]},
            },
        }
        try:
            answer = await self._kube.create(path("serviceaccounts", meta["namespace"], account, "token"), body)
        except ApiError as error:
            raise MountError(
                f"MountVolume.SetUp failed: token of service account {account}: {error.message}"
            ) from error
        return str(answer["status"]["token"])

    def _downward(self, item: Object) -> str:
        if ref := item.get("fieldRef"):
            return field(self._pod, ref["fieldPath"])
        return resource(self._pod, {}, item["resourceFieldRef"])

    def _host_path(self, ref: Object) -> Path:
        target: Path = self._node_root / ref["path"].lstrip("/")
        kind = ref.get("type", "")
        if kind in ("", "DirectoryOrCreate"):
            target.mkdir(parents=True, exist_ok=True)
        elif kind == "FileOrCreate":
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
        elif kind == "Directory" and not target.is_dir():
            raise MountError(f"hostPath type check failed: {ref['path']} is not a directory")
        elif kind == "File" and not target.is_file():
            raise MountError(f"hostPath type check failed: {ref['path']} is not a file")
        return target


def _write(file: Path, data: bytes) -> None:
    """Replace a file in one step, so that a reader never sees half of it."""
    if file.is_file() and file.read_bytes() == data:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.new")
    temporary.write_bytes(data)
    temporary.chmod(0o600)
    os.replace(temporary, file)
