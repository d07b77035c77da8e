"""Grows volumes whose claim asks for more, as external-resizer does.

The API server has checked before that the class allows it and that the size only grows.
"""

from __future__ import annotations

from vllm_sandbox.kube import Kube, path
from vllm_sandbox.node import quantity
from vllm_sandbox.node.events import EventRecorder
from vllm_sandbox.volumes import objects
from vllm_sandbox.volumes.informer import Informer
from vllm_sandbox.volumes.names import CLAIMS, VOLUMES


class Resizer:
    """`sync` is called with the key of each claim."""

    def __init__(self, kube: Kube, claims: Informer, volumes: Informer, recorder: EventRecorder) -> None:
        self._kube = kube
        self._claims = claims
        self._volumes = volumes
        self._record = recorder

    async def sync(self, key: str) -> None:
        """Raise the volume's capacity first, then what the claim says it has."""
        claim = self._claims.get(key)
        if claim is None or claim.get("status", {}).get("phase") != "Bound":
            return
        pv = self._volumes.get(claim["spec"]["volumeName"])
        if pv is None or objects.owner_of(pv) is None:
            return
        wanted = objects.requested_bytes(claim)
        has = quantity.parse(claim["status"].get("capacity", {}).get("storage", 0))
        if wanted <= has:
            return
        name, size = pv["metadata"]["name"], claim["spec"]["resources"]["requests"]["storage"]
        if objects.capacity_bytes(pv) < wanted:
            self._record(claim, "Normal", "Resizing", f"External resizer is resizing volume {name}")
            await self._kube.patch(path(VOLUMES, name=name), {"spec": {"capacity": {"storage": size}}})
        meta = claim["metadata"]
        status = {"status": {"capacity": {"storage": size}, "conditions": []}}
        await self._kube.patch(path(CLAIMS, meta["namespace"], meta["name"], "status"), status)
        self._record(claim, "Normal", "VolumeResizeSuccessful", "Resize volume succeeded")
