"""A filled disk becomes a read-only one for many nodes."""

from __future__ import annotations

import pytest

from vllm_sandbox.kube import path
from vllm_sandbox.volumes.mount import publish, wait_attached
from vllm_sandbox.volumes.names import BLOCK

from .lab import DEADLINE_S, Lab, claim, pod

pytestmark = pytest.mark.asyncio


async def filled_disk(lab: Lab, name: str) -> None:
    """A claim of one writer that holds a file."""
    await lab.apply(claim(name, "block-rwo", "ReadWriteOnce"), pod(f"fill-{name}", name, node="node-b"))
    pv = await lab.bound(name)
    (lab.directory(pv) / "model.safetensors").write_text("weights")


async def test_clone_is_read_by_nodes_of_all_zones(lab: Lab) -> None:
    await filled_disk(lab, "filled")
    await lab.apply(
        claim("weights", "block-rox", "ReadOnlyMany", source="filled"),
        pod("reader-a", "weights", node="node-a"),
        pod("reader-b", "weights", node="node-b"),
    )
    pv = await lab.bound("weights")
    assert pv["spec"]["csi"] == {"driver": BLOCK, "volumeHandle": pv["metadata"]["name"], "readOnly": True}
    for pod_name, node_name in (("reader-a", "node-a"), ("reader-b", "node-b")):
        assert await lab.scheduled(pod_name) == node_name
        await wait_attached(lab.kube, pv, node_name, DEADLINE_S)
        mounted = await publish(lab.kube, lab.volumes.root, pv, await lab.kube.get(path("nodes", name=node_name)))
        assert mounted.read_only
        assert (mounted.path / "model.safetensors").read_text() == "weights"


async def test_clone_is_a_copy_of_its_own(lab: Lab) -> None:
    await filled_disk(lab, "filled")
    await lab.apply(claim("copy", "block-rwo", "ReadWriteOnce", source="filled"), pod("user", "copy", node="node-b2"))
    copy = lab.directory(await lab.bound("copy")) / "model.safetensors"
    copy.write_text("changed")
    assert (lab.directory(await lab.bound("filled")) / "model.safetensors").read_text() == "weights"


async def test_clone_waits_for_its_source(lab: Lab) -> None:
    await lab.apply(claim("weights", "block-rox", "ReadOnlyMany", source="later"), pod("reader", "weights"))
    assert 'persistentvolumeclaim "later" not found' in await lab.event("ProvisioningFailed", "weights")
    await filled_disk(lab, "later")
    pv = await lab.bound("weights")
    assert lab.directory(pv).is_dir()


@pytest.mark.parametrize(
    ("storage_class", "size", "said"),
    [
        ("block-rox", "1Gi", "smaller than its source (2Gi)"),
        ("shared-fs", "2Gi", "does not support clone operations"),
    ],
)
async def test_impossible_clone_is_refused(lab: Lab, storage_class: str, size: str, said: str) -> None:
    await filled_disk(lab, "filled")
    await lab.apply(
        claim("weights", storage_class, "ReadOnlyMany", size=size, source="filled"), pod("reader", "weights")
    )
    assert said in await lab.event("ProvisioningFailed", "weights")


async def test_clone_of_a_shared_volume_into_a_disk_is_refused(lab: Lab) -> None:
    await lab.apply(
        claim("files", "shared-fs", "ReadWriteMany"),
        claim("weights", "block-rox", "ReadOnlyMany", source="files"),
        pod("reader", "weights"),
    )
    await lab.bound("files")
    assert "copies only its own" in await lab.event("ProvisioningFailed", "weights", "copies only its own")


async def test_writable_clone_in_another_zone_is_refused(lab: Lab) -> None:
    await filled_disk(lab, "filled")
    await lab.apply(claim("copy", "block-rwo", "ReadWriteOnce", source="filled"), pod("user", "copy", node="node-a"))
    assert "the disk to copy is in sandbox-b" in await lab.event("ProvisioningFailed", "copy")


async def test_snapshots_are_refused_with_a_way_out(lab: Lab) -> None:
    body = claim("weights", "block-rox", "ReadOnlyMany")
    body["spec"]["dataSource"] = {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "snap"}
    await lab.apply(body, pod("reader", "weights"))
    assert "name a PersistentVolumeClaim as dataSource" in await lab.event("ProvisioningFailed", "weights")
