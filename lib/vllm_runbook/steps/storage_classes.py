"""Which storage classes can do what: known by their provisioners, before a claim hangs Pending for ever."""

from __future__ import annotations

from dataclasses import dataclass

from ..cluster import Cluster, Object, Ref
from ..errors import RunbookError
from ..params import Platform

RWO, ROX, RWX = "ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany"

#: Access modes by provisioner, from the drivers' documentation; file systems only, block devices can more.
KNOWN: dict[str, tuple[str, ...]] = {
    "ebs.csi.aws.com": (RWO,),
    "ebs.csi.eks.amazonaws.com": (RWO,),
    "efs.csi.aws.com": (RWO, ROX, RWX),
    "fsx.csi.aws.com": (RWO, ROX, RWX),
    "pd.csi.storage.gke.io": (RWO, ROX),
    "filestore.csi.storage.gke.io": (RWO, ROX, RWX),
    "disk.csi.azure.com": (RWO,),
    "file.csi.azure.com": (RWO, ROX, RWX),
    "rancher.io/local-path": (RWO,),
    "kubernetes.io/no-provisioner": (RWO, ROX, RWX),
}

#: An administrator can state the modes of a driver that isn't in the table, comma-separated.
ANNOTATION = "runbook.vllm.dev/access-modes"


@dataclass(frozen=True)
class Need:
    """A class that the strategy uses, and the mode it must be able to do."""

    storage_class: str
    mode: str
    what_for: str


def needs(platform: Platform) -> list[Need]:
    """The classes of a platform's strategy."""
    storage = platform.storage
    if storage.strategy == "per_node":
        return []
    found = [Need(storage.class_name, storage.access_modes.fill, "filling")]
    if storage.strategy == "prefilled":
        found.append(Need(storage.serve_class or storage.class_name, storage.access_modes.serve, "serving"))
    return found


def modes(item: Object) -> tuple[str, ...] | None:
    """Access modes of a StorageClass; None when nobody knows."""
    stated = (item["metadata"].get("annotations") or {}).get(ANNOTATION)
    if stated:
        return tuple(mode.strip() for mode in stated.split(","))
    return KNOWN.get(item["provisioner"])


def check(cluster: Cluster, need: Need) -> str:
    """What is wrong with a class for its purpose; empty when nothing is known to be."""
    item = cluster.find(Ref("StorageClass", need.storage_class))
    if item is None:
        return f"there is no StorageClass {need.storage_class}"
    able = modes(item)
    if able is None or need.mode in able:
        return ""
    return f"{need.storage_class} ({item['provisioner']}) can't do {need.mode}, only {', '.join(able)}"


def require(cluster: Cluster, platform: Platform) -> None:
    """Check all classes of the strategy.

    Raises:
        RunbookError: one is missing or can't do its access mode.
    """
    problems = [f"for {need.what_for}: {problem}" for need in needs(platform) if (problem := check(cluster, need))]
    if problems:
        raise RunbookError(
            f"Storage strategy {platform.storage.strategy} does not work with these classes",
            why="\n".join(problems),
            next_step=(
                "Choose another class (-p storage.class=…), or strategy prefilled or per_node, which disks of one node "
                "can do."
            ),
        )
