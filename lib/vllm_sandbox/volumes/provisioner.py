"""Makes volumes for claims, as external-provisioner does with a CSI driver.

kube-controller-manager asks by the annotation volume.kubernetes.io/storage-provisioner; for a class that
waits for its first consumer, the scheduler first names the node (volume.kubernetes.io/selected-node).
"""

from __future__ import annotations

import asyncio
import shutil
import zlib

from vllm_sandbox.kube import ApiError, Kube, Object, path
from vllm_sandbox.node.events import EventRecorder
from vllm_sandbox.volumes import objects
from vllm_sandbox.volumes.directories import Directories
from vllm_sandbox.volumes.informer import Informer
from vllm_sandbox.volumes.modes import Kind, ProvisioningError, check_modes, kind_of
from vllm_sandbox.volumes.names import CLAIMS, LOCAL_PATH, NODES, SELECTED_NODE, VOLUMES
from vllm_sandbox.volumes.workqueue import Retry


class Provisioner:
    """`sync` is called with the key of each claim that may need a volume."""

    def __init__(
        self,
        kube: Kube,
        directories: Directories,
        claims: Informer,
        classes: Informer,
        volumes: Informer,
        nodes: Informer,
        recorder: EventRecorder,
    ) -> None:
        self._kube = kube
        self._directories = directories
        self._claims = claims
        self._classes = classes
        self._volumes = volumes
        self._nodes = nodes
        self._record = recorder
        self._made: set[str] = set()  # volumes whose PV the informer may not show yet

    async def sync(self, key: str) -> None:
        """Make the volume of one claim if it is our turn; raises Retry after a reported failure."""
        claim = self._claims.get(key)
        if claim is None or not self._is_our_turn(claim):
            return
        storage_class = self._classes.get(claim["spec"]["storageClassName"])
        assert storage_class
        self._record(claim, "Normal", "Provisioning", f'External provisioner is provisioning volume for claim "{key}"')
        try:
            pv = await self._provision(claim, storage_class)
        except ProvisioningError as error:
            name = storage_class["metadata"]["name"]
            text = f'failed to provision volume with StorageClass "{name}": {error}'
            self._record(claim, "Warning", "ProvisioningFailed", text)
            raise Retry from error
        self._made.add(pv)
        self._record(claim, "Normal", "ProvisioningSucceeded", f"Successfully provisioned volume {pv}")

    def _is_our_turn(self, claim: Object) -> bool:
        meta, spec = claim["metadata"], claim["spec"]
        name = objects.volume_name(claim)
        if spec.get("volumeName") or "deletionTimestamp" in meta or self._volumes.get(name) or name in self._made:
            return False
        provisioner = objects.provisioner_of(claim)
        storage_class = self._classes.get(spec.get("storageClassName") or "")
        if not provisioner or not storage_class or storage_class["provisioner"] != provisioner:
            return False
        waits = storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"
        return not waits or bool(meta.get("annotations", {}).get(SELECTED_NODE))

    async def _provision(self, claim: Object, storage_class: Object) -> str:
        kind = kind_of(storage_class)
        source = objects.source_of(claim)
        check_modes(kind, claim, is_clone=source is not None)
        origin = self._origin(claim, kind, source) if source else None
        node = await self._node(claim, kind)
        name = objects.volume_name(claim)
        body = objects.build(claim, storage_class, kind, node, self._directories.path(name))
        if origin:
            _check_zone(body, origin)
            await self._clone(objects.handle_of(origin), name)
        else:
            await asyncio.to_thread(self._directories.create, name)
        try:
            await self._kube.create(path(VOLUMES), body)
        except ApiError as error:
            if error.reason != "AlreadyExists":  # it exists after a restart between making and telling
                raise ProvisioningError("Internal", f"the API server refused volume {name}: {error.message}") from error
        return name

    def _origin(self, claim: Object, kind: Kind, source: Object) -> Object:
        """The volume to copy; raises ProvisioningError if it may not be copied into this claim."""
        name = source["name"]
        trouble = f"error getting handle for DataSource Type {source['kind']} by Name {name}: "
        if source["kind"] != "PersistentVolumeClaim":
            raise ProvisioningError(
                "InvalidArgument",
                trouble + "only claims can be copied here; name a PersistentVolumeClaim as dataSource",
            )
        namespace = source.get("namespace", claim["metadata"]["namespace"])
        if namespace != claim["metadata"]["namespace"]:
            raise ProvisioningError("InvalidArgument", trouble + f"it is in another namespace ({namespace})")
        origin_claim = self._claims.get(f"{namespace}/{name}")
        if origin_claim is None:
            raise ProvisioningError("NotFound", trouble + f'persistentvolumeclaim "{name}" not found')
        origin = self._volumes.get(origin_claim["spec"].get("volumeName", ""))
        if origin is None or origin_claim["status"].get("phase") != "Bound":
            raise ProvisioningError("InvalidArgument", trouble + "the claim is not bound yet")
        driver = origin["spec"].get("csi", {}).get("driver", "no CSI driver")
        if driver != kind.driver:
            raise ProvisioningError(
                "InvalidArgument", trouble + f"it is a volume of {driver}, and {kind.driver} copies only its own"
            )
        if objects.requested_bytes(claim) < objects.capacity_bytes(origin):
            size = origin["spec"]["capacity"]["storage"]
            raise ProvisioningError("InvalidArgument", trouble + f"the new claim is smaller than its source ({size})")
        return origin

    async def _node(self, claim: Object, kind: Kind) -> Object | None:
        """Where the volume's first pod will run; for a class that doesn't wait, some node if that matters."""
        name = claim["metadata"].get("annotations", {}).get(SELECTED_NODE)
        if not name:
            if kind.driver == LOCAL_PATH:
                raise ProvisioningError(
                    "InvalidArgument", "a directory on a node needs a class with volumeBindingMode WaitForFirstConsumer"
                )
            nodes = sorted(self._nodes, key=lambda node: str(node["metadata"]["name"]))
            return nodes[zlib.crc32(claim["metadata"]["uid"].encode()) % len(nodes)] if nodes else None
        try:
            return await self._kube.get(path(NODES, name=name))
        except ApiError as error:
            if error.code != 404:
                raise
            meta = claim["metadata"]
            release = {"metadata": {"annotations": {SELECTED_NODE: None}}}
            await self._kube.patch(path(CLAIMS, meta["namespace"], meta["name"]), release)
            raise ProvisioningError(
                "ResourceExhausted", f'selected node "{name}" is gone; the scheduler will choose another one'
            ) from error

    async def _clone(self, source: str, name: str) -> None:
        try:
            await asyncio.to_thread(self._directories.clone, source, name)
        except (OSError, shutil.Error) as error:  # files changed or went while they were copied
            raise ProvisioningError("Internal", f"copying volume {source} failed: {error}"[:900]) from error


def _check_zone(body: Object, origin: Object) -> None:
    target, source = objects.zone_of(body), objects.zone_of(origin)
    if target and source and target != source:
        raise ProvisioningError(
            "InvalidArgument",
            f"the pod was scheduled to zone {target}, and the disk to copy is in {source}; a disk for one node is "
            f"copied within its zone: pin the pod to {source} or ask for ReadOnlyMany in a multi-reader class",
        )
