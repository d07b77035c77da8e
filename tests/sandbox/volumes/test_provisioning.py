"""Claims get volumes as their class promises, or an event that says why not."""

from __future__ import annotations

import pytest

from vllm_sandbox.kube import path
from vllm_sandbox.volumes.names import BLOCK, LOCAL_PATH, SHARED

from .lab import Lab, claim, pod

pytestmark = pytest.mark.asyncio


async def test_default_class_gives_a_shared_volume_at_once(lab: Lab) -> None:
    await lab.apply(claim("weights", None, "ReadWriteMany"))
    pv = await lab.bound("weights")
    assert pv["spec"]["csi"] == {"driver": SHARED, "volumeHandle": pv["metadata"]["name"]}
    assert pv["spec"]["capacity"] == {"storage": "2Gi"}
    assert lab.directory(pv).is_dir()
    assert "shared-fs" in lab.kubectl("-n", lab.namespace, "get", "pvc", "weights")
    assert await lab.event("ProvisioningSucceeded", "weights", pv["metadata"]["name"])


async def test_block_disk_waits_for_its_pod_and_stays_in_its_zone(lab: Lab) -> None:
    await lab.apply(claim("disk", "block-rwo", "ReadWriteOnce", size="1500Mi"))
    await lab.event("WaitForFirstConsumer", "disk")
    await lab.apply(pod("user", "disk", node="node-b"))
    pv = await lab.bound("disk")
    assert pv["spec"]["csi"]["driver"] == BLOCK
    assert pv["spec"]["capacity"] == {"storage": "2Gi"}, "disks come in whole GiB"
    term = pv["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0]
    assert (term["key"], term["values"]) == ("topology.kubernetes.io/zone", ["sandbox-b"])
    assert await lab.scheduled("user") == "node-b"


async def test_pod_in_another_zone_cannot_be_scheduled(lab: Lab) -> None:
    await lab.apply(claim("disk", "block-rwo", "ReadWriteOnce"), pod("first", "disk", node="node-b"))
    await lab.bound("disk")
    await lab.apply(pod("second", "disk", node="node-a"))
    assert "didn't match PersistentVolume's node affinity" in await lab.event("FailedScheduling", "second")


async def test_local_path_stays_on_the_node_of_its_first_pod(lab: Lab) -> None:
    await lab.apply(claim("scratch", "local-path", "ReadWriteOnce"), pod("user", "scratch", node="node-b2"))
    pv = await lab.bound("scratch")
    term = pv["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0]
    assert (term["key"], term["values"]) == ("kubernetes.io/hostname", ["node-b2"])
    assert pv["spec"]["hostPath"]["path"] == str(lab.directory(pv))
    assert pv["metadata"]["annotations"]["pv.kubernetes.io/provisioned-by"] == LOCAL_PATH


@pytest.mark.parametrize(
    ("storage_class", "mode", "said"),
    [
        ("block-rwo", "ReadWriteMany", "Volume capabilities MULTI_NODE_MULTI_WRITER not supported"),
        ("block-rwo", "ReadOnlyMany", "Volume capabilities MULTI_NODE_READER_ONLY not supported"),
        ("block-rox", "ReadOnlyMany", "fill a ReadWriteOnce claim first"),
        ("local-path", "ReadWriteMany", "Only AccessModes[ReadWriteOnce ReadWriteOncePod] supported"),
    ],
)
async def test_impossible_access_mode_is_refused_with_an_event(
    lab: Lab, storage_class: str, mode: str, said: str
) -> None:
    await lab.apply(claim("wish", storage_class, mode), pod("user", "wish"))
    message = await lab.event("ProvisioningFailed", "wish")
    assert message.startswith(f'failed to provision volume with StorageClass "{storage_class}": rpc error: code = ')
    assert said in message
    assert "Pending" in lab.kubectl("-n", lab.namespace, "get", "pvc", "wish")
    described = lab.kubectl("-n", lab.namespace, "describe", "pvc", "wish")
    assert "Warning  ProvisioningFailed" in described


async def test_claim_grows(lab: Lab) -> None:
    await lab.apply(claim("weights", "shared-fs", "ReadWriteMany"))
    pv = await lab.bound("weights")
    await lab.apply(claim("weights", "shared-fs", "ReadWriteMany", size="5Gi"))
    await lab.until(
        path("persistentvolumeclaims", lab.namespace),
        lambda claims: claims["weights"]["status"]["capacity"] == {"storage": "5Gi"},
    )
    grown = await lab.kube.get(path("persistentvolumes", name=pv["metadata"]["name"]))
    assert grown["spec"]["capacity"] == {"storage": "5Gi"}
    assert await lab.event("VolumeResizeSuccessful", "weights")


async def test_claim_whose_selected_node_is_gone_goes_back_to_the_scheduler(lab: Lab) -> None:
    body = claim("disk", "block-rwo", "ReadWriteOnce")
    body["metadata"]["annotations"] = {"volume.kubernetes.io/selected-node": "reclaimed-node"}
    await lab.apply(body)
    assert 'selected node "reclaimed-node" is gone' in await lab.event("ProvisioningFailed", "disk")
    await lab.apply(pod("user", "disk"))
    await lab.bound("disk")


async def test_class_of_the_users_own(lab: Lab) -> None:
    """A class that names our driver gets the same service, with its own policy."""
    name = lab.namespace + "-retain"
    own = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": SHARED,
        "reclaimPolicy": "Retain",
    }
    await lab.apply(claim("early", name, "ReadWriteMany"))  # the claim comes before its class
    await lab.apply(own)
    pv = await lab.bound("early")
    assert pv["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    await lab.delete("storageclass", name)
