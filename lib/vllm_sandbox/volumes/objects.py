"""PersistentVolumes as the provisioner writes them, and what it reads from claims."""

from __future__ import annotations

from decimal import ROUND_CEILING
from pathlib import Path

from vllm_sandbox.kube import Object
from vllm_sandbox.node import quantity
from vllm_sandbox.volumes.modes import ONE_NODE, Kind
from vllm_sandbox.volumes.names import (
    BLOCK,
    HOSTNAME_LABEL,
    LOCAL_PATH,
    PROVISIONED_BY,
    PROVISIONER_FINALIZER,
    PROVISIONERS,
    STORAGE_PROVISIONER,
    ZONE_LABEL,
)

GIB = 2**30


def volume_name(claim: Object) -> str:
    """Name of the volume made for a claim; also its handle."""
    return f"pvc-{claim['metadata']['uid']}"


def requested_bytes(claim: Object) -> int:
    """Size that a claim asks for."""
    return int(quantity.parse(claim["spec"]["resources"]["requests"]["storage"]))


def capacity_bytes(pv: Object) -> int:
    """Size that a volume states."""
    return int(quantity.parse(pv["spec"]["capacity"]["storage"]))


def provisioner_of(claim: Object) -> str | None:
    """Our provisioner that kube-controller-manager asks to serve this claim, if any."""
    name = claim["metadata"].get("annotations", {}).get(STORAGE_PROVISIONER)
    return name if name in PROVISIONERS else None


def owner_of(pv: Object) -> str | None:
    """Our provisioner that made this volume, if any."""
    name = pv["metadata"].get("annotations", {}).get(PROVISIONED_BY)
    return name if name in PROVISIONERS else None


def handle_of(pv: Object) -> str:
    """Name of the directory that holds the files of a volume of ours."""
    csi = pv["spec"].get("csi")
    return str(csi["volumeHandle"] if csi else pv["metadata"]["name"])


def source_of(claim: Object) -> Object | None:
    """``dataSource`` or ``dataSourceRef`` of a claim: what it shall be a copy of."""
    source: Object | None = claim["spec"].get("dataSourceRef") or claim["spec"].get("dataSource")
    return source


def storage_size(claim: Object, kind: Kind) -> str:
    """Capacity to provide: as requested; block disks come in whole GiB, as the clouds' do."""
    if kind.driver != BLOCK:
        return str(claim["spec"]["resources"]["requests"]["storage"])
    size = quantity.parse(claim["spec"]["resources"]["requests"]["storage"]) / GIB
    return f"{max(1, int(size.to_integral_value(ROUND_CEILING)))}Gi"


def zone_of(pv: Object) -> str | None:
    """Zone that a volume's node affinity ties it to."""
    terms = pv["spec"].get("nodeAffinity", {}).get("required", {}).get("nodeSelectorTerms", [])
    for expression in (e for term in terms for e in term.get("matchExpressions", [])):
        if expression["key"] == ZONE_LABEL:
            return str(expression["values"][0])
    return None


def is_zonal(kind: Kind, claim: Object) -> bool:
    """Whether the volume must stay in one zone: disks for one node do, disks for many readers don't."""
    return kind.zonal and all(mode in ONE_NODE for mode in claim["spec"]["accessModes"])


def build(claim: Object, storage_class: Object, kind: Kind, node: Object | None, directory: Path) -> Object:
    """The PersistentVolume for a claim. ``node`` is where its first pod goes (None: anywhere)."""
    meta, spec = claim["metadata"], claim["spec"]
    reclaim = storage_class.get("reclaimPolicy", "Delete")
    body: Object = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": volume_name(claim),
            "annotations": {PROVISIONED_BY: kind.driver},
            "finalizers": [PROVISIONER_FINALIZER] if reclaim == "Delete" else [],
        },
        "spec": {
            "accessModes": spec["accessModes"],
            "capacity": {"storage": storage_size(claim, kind)},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": meta["namespace"],
                "name": meta["name"],
                "uid": meta["uid"],
                "resourceVersion": meta["resourceVersion"],
            },
            "persistentVolumeReclaimPolicy": reclaim,
            "storageClassName": storage_class["metadata"]["name"],
            "mountOptions": storage_class.get("mountOptions", []),
            "volumeMode": "Filesystem",
            **_source(claim, kind, directory),
        },
    }
    if affinity := _affinity(claim, kind, node):
        body["spec"]["nodeAffinity"] = affinity
    return body


def _source(claim: Object, kind: Kind, directory: Path) -> Object:
    if kind.driver == LOCAL_PATH:
        return {"hostPath": {"path": str(directory), "type": "DirectoryOrCreate"}}
    csi: Object = {"driver": kind.driver, "volumeHandle": volume_name(claim)}
    if claim["spec"]["accessModes"] == ["ReadOnlyMany"]:
        csi["readOnly"] = True
    return {"csi": csi}


def _affinity(claim: Object, kind: Kind, node: Object | None) -> Object | None:
    labels = node["metadata"].get("labels", {}) if node else {}
    if kind.driver == LOCAL_PATH:
        key = HOSTNAME_LABEL
    elif is_zonal(kind, claim) and ZONE_LABEL in labels:
        key = ZONE_LABEL
    else:
        return None
    value = labels.get(key) or (node["metadata"]["name"] if node else "")
    terms = [{"matchExpressions": [{"key": key, "operator": "In", "values": [value]}]}]
    return {"required": {"nodeSelectorTerms": terms}}
