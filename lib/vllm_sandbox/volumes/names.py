"""Names that the volume controllers, the API server and the node agent agree on."""

from __future__ import annotations

import hashlib

from vllm_sandbox.kube import Object

SANDBOX_SCALE = 1024
"""Files in the sandbox are this much smaller than the real ones.

Synthetic model weights have 1/1024 of the real size, so a volume is full when it holds 1/1024 of the
capacity that its claim states. A 100Gi claim stays 100Gi for Kubernetes and takes 100 MiB of disk.
"""

SHARED = "shared.sandbox.vllm-runbook.dev"
"""Driver of shared file systems: stands for EFS, Filestore, Azure Files."""
BLOCK = "block.sandbox.vllm-runbook.dev"
"""Driver of block disks: stands for EBS gp3, Persistent Disk, Hyperdisk ML, Azure Disk."""
LOCAL_PATH = "local-path.sandbox.vllm-runbook.dev"
"""Provisioner of directories on one node: stands for k3s' local-path. No CSI driver."""
PROVISIONERS = frozenset({SHARED, BLOCK, LOCAL_PATH})
CSI_DRIVERS = frozenset({SHARED, BLOCK})

MANAGED_LABEL = "sandbox.vllm-runbook.dev/managed"
ZONE_LABEL = "topology.kubernetes.io/zone"
HOSTNAME_LABEL = "kubernetes.io/hostname"

# kube-controller-manager and scheduler <-> provisioner
STORAGE_PROVISIONER = "volume.kubernetes.io/storage-provisioner"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
PROVISIONER_FINALIZER = "external-provisioner.volume.kubernetes.io/finalizer"
# attach-detach controller <-> attacher and nodes
CONTROLLER_ATTACHES = "volumes.kubernetes.io/controller-managed-attach-detach"
ATTACHER_NODE_ID = "csi.alpha.kubernetes.io/node-id"
ATTACHER_FINALIZER = "external-attacher/" + BLOCK.replace(".", "-")

CLAIMS = "persistentvolumeclaims"
VOLUMES = "persistentvolumes"
NODES = "nodes"
CLASSES = "storage.k8s.io/v1/storageclasses"
DRIVERS = "storage.k8s.io/v1/csidrivers"
CSI_NODES = "storage.k8s.io/v1/csinodes"
ATTACHMENTS = "storage.k8s.io/v1/volumeattachments"


def attachment_name(handle: str, driver: str, node_name: str) -> str:
    """Name that the attach-detach controller gives the VolumeAttachment of one volume on one node.

    Source: kubernetes pkg/volume/csi/csi_attacher.go, getAttachmentName.
    """
    return "csi-" + hashlib.sha256(f"{handle}{driver}{node_name}".encode()).hexdigest()


def attachable_name(pv: Object) -> str | None:
    """A volume's name in ``node.status.volumesInUse``; None for a volume that needs no attaching.

    Source: kubernetes pkg/volume/csi/csi_plugin.go, GetVolumeName.
    """
    csi = pv["spec"].get("csi", {})
    return f"kubernetes.io/csi/{BLOCK}^{csi['volumeHandle']}" if csi.get("driver") == BLOCK else None
