"""Which volumes each kind of storage can provide, and how it says no."""

from __future__ import annotations

from dataclasses import dataclass

from vllm_sandbox.kube import Object
from vllm_sandbox.volumes.names import BLOCK, LOCAL_PATH, SHARED

# Kubernetes access mode -> the name that CSI drivers print in their errors
CSI_MODE = {
    "ReadWriteOnce": "SINGLE_NODE_WRITER",
    "ReadWriteOncePod": "SINGLE_NODE_SINGLE_WRITER",
    "ReadOnlyMany": "MULTI_NODE_READER_ONLY",
    "ReadWriteMany": "MULTI_NODE_MULTI_WRITER",
}
ONE_NODE = ("ReadWriteOnce", "ReadWriteOncePod")


class ProvisioningError(Exception):
    """A driver refused to make a volume. Reads like the gRPC error of a CSI driver.

    Attributes:
        code: gRPC code, e.g. ``InvalidArgument``.
        description: what was wrong, and where it helps, what to do.
    """

    def __init__(self, code: str, description: str) -> None:
        super().__init__(f"rpc error: code = {code} desc = {description}")
        self.code = code
        self.description = description


@dataclass(frozen=True)
class Kind:
    """What one kind of storage can do.

    Attributes:
        driver: the CSI driver or provisioner.
        new: access modes of an empty volume.
        cloned: access modes of a volume cloned from a claim; empty if it can't clone.
        zonal: whether a volume for one node stays in one zone.
        hint: what to add when ``new`` doesn't hold a wanted mode.
    """

    driver: str
    new: tuple[str, ...]
    cloned: tuple[str, ...] = ()
    zonal: bool = False
    hint: str = ""


DISK_HINT = (
    " A block disk is attached to one node at a time; for many readers use a shared file system, "
    "or clone a filled claim into a multi-reader class."
)
EMPTY_READ_ONLY_HINT = (
    " An empty volume that nobody may write to would stay empty: fill a ReadWriteOnce claim first, then "
    "create this one with that claim as its dataSource."
)

_KINDS = {
    (SHARED, ""): Kind(SHARED, ("ReadWriteMany", "ReadOnlyMany", *ONE_NODE)),
    (BLOCK, "disk"): Kind(BLOCK, ONE_NODE, ONE_NODE, zonal=True, hint=DISK_HINT),
    (BLOCK, "multi-reader"): Kind(BLOCK, ONE_NODE, (*ONE_NODE, "ReadOnlyMany"), zonal=True, hint=EMPTY_READ_ONLY_HINT),
    (LOCAL_PATH, ""): Kind(LOCAL_PATH, ONE_NODE),
}


def kind_of(storage_class: Object) -> Kind:
    """The kind that a StorageClass of ours asks for by provisioner and parameter ``type``.

    Raises:
        ProvisioningError: the parameter names no kind.
    """
    driver = storage_class["provisioner"]
    wanted = storage_class.get("parameters", {}).get("type", "disk" if driver == BLOCK else "")
    try:
        return _KINDS[driver, wanted]
    except KeyError:
        known = ", ".join(name for owner, name in _KINDS if owner == driver and name) or "none"
        raise ProvisioningError(
            "InvalidArgument", f"invalid parameter type={wanted!r}; {driver} knows: {known}"
        ) from None


def check_modes(kind: Kind, claim: Object, is_clone: bool) -> None:
    """Raise ProvisioningError if this kind can't make a volume with the claim's access modes."""
    if is_clone and not kind.cloned:
        raise ProvisioningError("InvalidArgument", f"{kind.driver} does not support clone operations")
    spec = claim["spec"]
    if spec.get("volumeMode", "Filesystem") != "Filesystem":
        raise ProvisioningError(
            "InvalidArgument", "volumeMode Block is not supported: the sandbox has directories only"
        )
    wanted = spec["accessModes"]
    supported = kind.cloned if is_clone else kind.new
    refused = [CSI_MODE.get(mode, mode) for mode in wanted if mode not in supported]
    if refused:
        hint = kind.hint if "ReadOnlyMany" in wanted or "ReadWriteMany" in wanted else ""
        raise ProvisioningError(
            "InvalidArgument",
            f"Volume capabilities {' '.join(refused)} not supported. "
            f"Only AccessModes[{' '.join(supported)}] supported.{hint}",
        )
    if kind.driver == BLOCK and "ReadOnlyMany" in wanted and len(wanted) > 1:
        raise ProvisioningError(
            "InvalidArgument",
            "ReadOnlyMany can't be combined with other access modes: a disk is read by many or written by one",
        )
