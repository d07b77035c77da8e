"""The PersistentVolumes that claims get."""

from __future__ import annotations

from pathlib import Path

import pytest

from vllm_sandbox.kube import Object
from vllm_sandbox.volumes import objects
from vllm_sandbox.volumes.modes import kind_of
from vllm_sandbox.volumes.mount import _admits
from vllm_sandbox.volumes.names import BLOCK, LOCAL_PATH, SHARED, attachable_name, attachment_name


def claim(size: str = "10Gi", mode: str = "ReadWriteOnce") -> Object:
    return {
        "metadata": {"namespace": "llm", "name": "weights", "uid": "u-1", "resourceVersion": "7"},
        "spec": {"accessModes": [mode], "resources": {"requests": {"storage": size}}},
    }


def storage_class(provisioner: str, **fields: object) -> Object:
    return {"metadata": {"name": "fast"}, "provisioner": provisioner, **fields}


def built(provisioner: str, body: Object, node: Object | None = None, **fields: object) -> Object:
    chosen = storage_class(provisioner, **fields)
    return objects.build(body, chosen, kind_of(chosen), node, Path("/volumes/pvc-u-1"))


NODE: Object = {
    "metadata": {
        "name": "gpu-0",
        "labels": {"topology.kubernetes.io/zone": "zone-a", "kubernetes.io/hostname": "gpu-0.local"},
    }
}


@pytest.mark.parametrize(("size", "disk"), [("10Gi", "10Gi"), ("1", "1Gi"), ("1500Mi", "2Gi"), ("10G", "10Gi")])
def test_disks_come_in_whole_gib(size: str, disk: str) -> None:
    assert built(BLOCK, claim(size))["spec"]["capacity"] == {"storage": disk}
    assert built(SHARED, claim(size))["spec"]["capacity"] == {"storage": size}


def test_claim_is_named_with_its_uid() -> None:
    reference = built(SHARED, claim())["spec"]["claimRef"]
    assert (reference["namespace"], reference["name"], reference["uid"]) == ("llm", "weights", "u-1")


def test_only_volumes_to_delete_are_held_by_the_finalizer() -> None:
    assert built(SHARED, claim())["metadata"]["finalizers"]
    assert not built(SHARED, claim(), reclaimPolicy="Retain")["metadata"]["finalizers"]


def test_where_volumes_can_be_used() -> None:
    assert "nodeAffinity" not in built(SHARED, claim(), NODE)["spec"]
    disk = built(BLOCK, claim(), NODE)
    assert objects.zone_of(disk) == "zone-a"
    many = built(BLOCK, claim(mode="ReadOnlyMany"), NODE, parameters={"type": "multi-reader"})
    assert objects.zone_of(many) is None
    local = built(LOCAL_PATH, claim(), NODE)
    required = local["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"]
    assert required == [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["gpu-0.local"]}]


def test_disk_on_a_node_without_a_zone_goes_anywhere() -> None:
    assert "nodeAffinity" not in built(BLOCK, claim(), {"metadata": {"name": "bare"}})["spec"]


def test_only_readers_volumes_are_read_only() -> None:
    assert built(SHARED, claim(mode="ReadOnlyMany"))["spec"]["csi"]["readOnly"] is True
    assert "readOnly" not in built(SHARED, claim(mode="ReadWriteMany"))["spec"]["csi"]


def test_names_that_the_attach_detach_controller_uses() -> None:
    """Computed by hand: printf '%s' pvc-u-1<driver>gpu-0 | sha256sum."""
    assert (
        attachment_name("pvc-u-1", BLOCK, "gpu-0")
        == "csi-ef16a806301fcb3df5cde0351b802276575b625533fc298710a5a3ad7906d85d"
    )
    assert attachable_name(built(BLOCK, claim())) == f"kubernetes.io/csi/{BLOCK}^pvc-u-1"
    assert attachable_name(built(SHARED, claim())) is None
    assert attachable_name(built(LOCAL_PATH, claim())) is None


def affinity(operator: str, *values: str) -> Object:
    expression = {"key": "k", "operator": operator, "values": list(values)}
    return {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}


@pytest.mark.parametrize(
    ("operator", "values", "label", "admitted"),
    [
        ("In", ("a", "b"), "b", True),
        ("In", ("a", "b"), "c", False),
        ("In", ("a",), None, False),
        ("NotIn", ("a",), "b", True),
        ("NotIn", ("a",), None, True),
        ("NotIn", ("a",), "a", False),
        ("Exists", (), "x", True),
        ("Exists", (), None, False),
        ("DoesNotExist", (), None, True),
        ("Gt", ("3",), "4", True),
        ("Gt", ("3",), "3", False),
        ("Lt", ("3",), "2", True),
        ("Lt", ("3",), None, False),
    ],
)
def test_node_affinity(operator: str, values: tuple[str, ...], label: str | None, admitted: bool) -> None:
    assert _admits(affinity(operator, *values), {} if label is None else {"k": label}) is admitted


def test_no_affinity_admits_every_node_and_terms_are_alternatives() -> None:
    assert _admits({}, {})
    either = {"required": {"nodeSelectorTerms": [*_terms("In", "a"), *_terms("In", "b")]}}
    assert _admits(either, {"k": "b"})
    assert not _admits(either, {"k": "c"})


def _terms(operator: str, value: str) -> list[Object]:
    terms: list[Object] = affinity(operator, value)["required"]["nodeSelectorTerms"]
    return terms
