"""What becomes of a volume when its claim goes, and when the sandbox restarts."""

from __future__ import annotations

from pathlib import Path

import pytest

from vllm_sandbox.config import SandboxConfig
from vllm_sandbox.kube import Kube, path
from vllm_sandbox.volumes.mount import NotBound, bound_volume, publish, wait_attached
from vllm_sandbox.volumes.run import running_volumes

from .lab import DEADLINE_S, Lab, claim, pod

pytestmark = pytest.mark.asyncio


async def test_delete_removes_the_volume_and_its_files(lab: Lab) -> None:
    await lab.apply(claim("weights", "shared-fs", "ReadWriteMany"))
    pv = await lab.bound("weights")
    (lab.directory(pv) / "locked").mkdir()
    (lab.directory(pv) / "locked" / "file").write_text("x")
    (lab.directory(pv) / "locked").chmod(0o500)
    await lab.delete("pvc", "weights")
    await lab.gone("persistentvolumes", pv["metadata"]["name"])
    assert not lab.directory(pv).exists()


async def test_retain_keeps_volume_and_files(lab: Lab) -> None:
    await lab.apply(claim("weights", "shared-fs", "ReadWriteMany"))
    pv = await lab.bound("weights")
    name = pv["metadata"]["name"]
    (lab.directory(pv) / "file").write_text("kept")
    patch = {"spec": {"persistentVolumeReclaimPolicy": "Retain"}}
    await lab.kube.patch(path("persistentvolumes", name=name), patch)
    await lab.until(
        path("persistentvolumes"),
        lambda items: (
            "external-provisioner.volume.kubernetes.io/finalizer" not in items[name]["metadata"]["finalizers"]
        ),
    )
    await lab.delete("pvc", "weights")
    await lab.until(path("persistentvolumes"), lambda items: items[name]["status"]["phase"] == "Released")
    await lab.delete("pv", name)
    await lab.gone("persistentvolumes", name)
    assert (lab.directory(pv) / "file").read_text() == "kept"


async def test_claim_in_use_is_protected(lab: Lab) -> None:
    await lab.apply(claim("weights", "shared-fs", "ReadWriteMany"), pod("user", "weights"))
    pv = await lab.bound("weights")
    await lab.scheduled("user")
    await lab.delete("pvc", "weights")
    assert "Terminating" in lab.kubectl("-n", lab.namespace, "get", "pvc", "weights")
    assert lab.directory(pv).exists()
    await lab.delete("pod", "user", "--grace-period=0", "--force")
    await lab.gone("persistentvolumes", pv["metadata"]["name"])
    assert not lab.directory(pv).exists()


async def test_namespace_takes_its_volumes_along(lab: Lab) -> None:
    namespace = lab.namespace + "-extra"
    inner = Lab(lab.kube, lab.kubectl_command, namespace, lab.volumes)
    await inner.open_namespace()
    await inner.apply(
        claim("weights", "shared-fs", "ReadWriteMany"),
        claim("disk", "block-rwo", "ReadWriteOnce"),
        pod("user", "disk"),
    )
    volumes = [await inner.bound("weights"), await inner.bound("disk")]
    await wait_attached(lab.kube, volumes[1], await inner.scheduled("user"), DEADLINE_S)
    await lab.delete("namespace", namespace)
    await inner.delete("pod", "user", "--grace-period=0", "--force")
    for pv in volumes:
        await lab.gone("persistentvolumes", pv["metadata"]["name"])
        assert not lab.directory(pv).exists()
    await lab.gone("namespaces", namespace)


async def test_work_left_by_a_stopped_sandbox_is_done_at_the_next_start(kube: Kube, tmp_path: Path) -> None:
    namespace = "restarts"
    await kube.create(path("namespaces"), {"metadata": {"name": namespace}})
    claims = path("persistentvolumeclaims", namespace)
    (tmp_path / "volumes" / "pvc-half.unfinished").mkdir(parents=True)

    async with running_volumes(kube, SandboxConfig(), tmp_path) as volumes:
        away = Lab(kube, [], namespace, volumes)
        assert not any(volumes.root.iterdir()), "a half-made copy is swept"
    await kube.create(claims, claim("weights", "shared-fs", "ReadWriteMany"))

    async with running_volumes(kube, SandboxConfig(), tmp_path):
        pv = await away.bound("weights")
        (away.directory(pv) / "file").write_text("kept")
    async with running_volumes(kube, SandboxConfig(), tmp_path):
        assert (away.directory(pv) / "file").read_text() == "kept"
    await kube.delete(path("persistentvolumeclaims", namespace, "weights"))
    await away.until(path("persistentvolumes"), lambda v: v[pv["metadata"]["name"]]["status"]["phase"] == "Released")

    async with running_volumes(kube, SandboxConfig(), tmp_path):
        await away.gone("persistentvolumes", pv["metadata"]["name"])
    assert not any((tmp_path / "volumes").iterdir())
    await kube.delete(path("namespaces", name=namespace))


async def test_mounting_by_the_claims_name(lab: Lab) -> None:
    with pytest.raises(NotBound, match='"weights" not found'):
        await bound_volume(lab.kube, lab.namespace, "weights")
    await lab.apply(claim("weights", "shared-fs", "ReadWriteMany"), claim("waiting", "block-rwo", "ReadWriteOnce"))
    await lab.bound("weights")
    with pytest.raises(NotBound, match="Pending"):
        await bound_volume(lab.kube, lab.namespace, "waiting")
    pv = await bound_volume(lab.kube, lab.namespace, "weights")
    node = await lab.kube.get(path("nodes", name="node-a"))
    mounted = await publish(lab.kube, lab.volumes.root, pv, node)
    assert mounted.path == lab.directory(pv)
    assert not mounted.read_only
    assert (await publish(lab.kube, lab.volumes.root, pv, node, read_only=True)).read_only
    assert mounted.in_use_name is None
    assert mounted.capacity_bytes == 2 * 2**20, "2Gi at a scale of 1/1024"
    (mounted.path / "file").write_bytes(bytes(2**20))
    assert mounted.remaining_bytes() == 2**20
