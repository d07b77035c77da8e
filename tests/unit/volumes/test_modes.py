"""What each kind of storage grants and refuses."""

from __future__ import annotations

import pytest

from vllm_sandbox.kube import Object
from vllm_sandbox.volumes import classes
from vllm_sandbox.volumes.modes import ProvisioningError, check_modes, kind_of
from vllm_sandbox.volumes.names import BLOCK, PROVISIONERS


def shipped(name: str) -> Object:
    """A StorageClass of classes.yaml."""
    return next(c for c in classes.load() if c["kind"] == "StorageClass" and c["metadata"]["name"] == name)


def granted(storage_class: str, *modes: str, is_clone: bool = False) -> bool:
    claim = {"spec": {"accessModes": list(modes)}}
    try:
        check_modes(kind_of(shipped(storage_class)), claim, is_clone)
    except ProvisioningError as error:
        assert error.code == "InvalidArgument"
        return False
    return True


RWO, RWOP, ROX, RWX = "ReadWriteOnce", "ReadWriteOncePod", "ReadOnlyMany", "ReadWriteMany"


@pytest.mark.parametrize(
    ("storage_class", "new", "cloned"),
    [
        ("shared-fs", {RWO, RWOP, ROX, RWX}, set()),
        ("block-rwo", {RWO, RWOP}, {RWO, RWOP}),
        ("block-rox", {RWO, RWOP}, {RWO, RWOP, ROX}),
        ("local-path", {RWO, RWOP}, set()),
    ],
)
def test_access_modes_of_each_class(storage_class: str, new: set[str], cloned: set[str]) -> None:
    every = (RWO, RWOP, ROX, RWX)
    assert {mode for mode in every if granted(storage_class, mode)} == new
    assert {mode for mode in every if granted(storage_class, mode, is_clone=True)} == cloned


def test_a_disk_is_read_by_many_or_written_by_one() -> None:
    assert not granted("block-rox", RWO, ROX, is_clone=True)
    assert granted("shared-fs", RWX, ROX)


def test_one_impossible_mode_spoils_the_claim() -> None:
    assert not granted("block-rwo", RWO, RWX)


def test_raw_devices_are_refused() -> None:
    claim = {"spec": {"accessModes": [RWO], "volumeMode": "Block"}}
    with pytest.raises(ProvisioningError, match="volumeMode Block is not supported"):
        check_modes(kind_of(shipped("block-rwo")), claim, is_clone=False)


def test_refusal_reads_like_a_csi_driver() -> None:
    claim = {"spec": {"accessModes": [RWX]}}
    with pytest.raises(ProvisioningError) as caught:
        check_modes(kind_of(shipped("block-rwo")), claim, is_clone=False)
    assert str(caught.value).startswith(
        "rpc error: code = InvalidArgument desc = Volume capabilities MULTI_NODE_MULTI_WRITER not supported. "
        "Only AccessModes[ReadWriteOnce ReadWriteOncePod] supported."
    )


def test_block_classes_without_a_type_are_plain_disks() -> None:
    assert kind_of({"provisioner": BLOCK}) == kind_of(shipped("block-rwo"))


def test_unknown_type_names_the_known_ones() -> None:
    with pytest.raises(ProvisioningError, match=r"'fast'.*disk, multi-reader"):
        kind_of({"provisioner": BLOCK, "parameters": {"type": "fast"}})


def test_shipped_classes() -> None:
    shipped_classes = [item for item in classes.load() if item["kind"] == "StorageClass"]
    assert {c["provisioner"] for c in shipped_classes} == PROVISIONERS
    default = "storageclass.kubernetes.io/is-default-class"
    assert [c["metadata"]["name"] for c in shipped_classes if c["metadata"]["annotations"].get(default)] == [
        classes.DEFAULT_CLASS
    ]
    for item in shipped_classes:
        assert kind_of(item)
        assert item["metadata"]["annotations"][classes.SCALE_ANNOTATION] == "1024"
        assert "1/1024 of its capacity" in item["metadata"]["annotations"]["kubernetes.io/description"]
