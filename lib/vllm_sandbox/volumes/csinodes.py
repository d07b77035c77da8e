"""Tells Kubernetes which drivers run on the sandbox's nodes: CSINode objects.

On a real node the kubelet writes them when a driver registers. They let the scheduler and the attacher
know the node, and name the label that zonal disks follow.
"""

from __future__ import annotations

from vllm_sandbox.kube import Kube, path
from vllm_sandbox.volumes.finalizers import absent_is_fine
from vllm_sandbox.volumes.informer import Informer
from vllm_sandbox.volumes.names import BLOCK, CONTROLLER_ATTACHES, CSI_NODES, MANAGED_LABEL, NODES, SHARED, ZONE_LABEL


class CsiNodes:
    """`sync` is called with the name of each node, and again when its CSINode went."""

    def __init__(self, kube: Kube, nodes: Informer, csi_nodes: Informer) -> None:
        self._kube = kube
        self._nodes = nodes
        self._csi_nodes = csi_nodes

    async def sync(self, name: str) -> None:
        """Give a node of the sandbox its CSINode, and hand its disks to the attach-detach controller."""
        node = self._nodes.get(name)
        if node is None or node["metadata"].get("labels", {}).get(MANAGED_LABEL) != "true":
            return
        if CONTROLLER_ATTACHES not in node["metadata"].get("annotations", {}):
            with absent_is_fine():
                await self._kube.patch(
                    path(NODES, name=name), {"metadata": {"annotations": {CONTROLLER_ATTACHES: "true"}}}
                )
        known = self._csi_nodes.get(name)
        drivers = {d["name"] for d in known["spec"].get("drivers") or []} if known else set()
        if {SHARED, BLOCK} <= drivers:
            return
        body = {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "CSINode",
            "metadata": {
                "name": name,
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": name, "uid": node["metadata"]["uid"]}],
            },
            "spec": {
                "drivers": [
                    {"name": SHARED, "nodeID": name, "topologyKeys": []},
                    {"name": BLOCK, "nodeID": name, "topologyKeys": [ZONE_LABEL]},
                ]
            },
        }
        await self._kube.apply(path(CSI_NODES, name=name), body, manager="sandbox-volumes")
