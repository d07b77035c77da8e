"""Block disks and the real attach-detach controller; the test plays the node agent's part."""

from __future__ import annotations

import pytest

from vllm_sandbox.kube import Object, path
from vllm_sandbox.volumes.mount import NotAttached, WrongNode, attachable_name, publish, wait_attached
from vllm_sandbox.volumes.names import ATTACHMENTS, BLOCK, CSI_NODES

from .lab import DEADLINE_S, Lab, claim, paper_node, pod

pytestmark = pytest.mark.asyncio


async def set_in_use(lab: Lab, node: str, *names: str) -> None:
    """What the node agent reports while it has disks mounted."""
    await lab.kube.patch(path("nodes", name=node, sub="status"), {"status": {"volumesInUse": list(names)}})


def attached_to(attachments: dict[str, Object], pv: Object) -> list[str]:
    name = pv["metadata"]["name"]
    mine = [a for a in attachments.values() if a["spec"]["source"]["persistentVolumeName"] == name]
    return sorted(a["spec"]["nodeName"] for a in mine if a.get("status", {}).get("attached"))


async def an_attachment_later(lab: Lab) -> None:
    """The attach-detach controller has seen all that happened, and had time to act on it."""
    await lab.apply(claim("other", "block-rwo", "ReadWriteOnce"), pod("later", "other", node="node-b2"))
    await wait_attached(lab.kube, await lab.bound("other"), "node-b2", DEADLINE_S)
    await lab.event("SuccessfulAttachVolume", "later")


async def test_nodes_of_the_sandbox_announce_the_drivers(lab: Lab) -> None:
    node = await lab.until(path(CSI_NODES), lambda items: items.get("node-a"))
    assert BLOCK in [driver["name"] for driver in node["spec"]["drivers"]]
    assert node["metadata"]["ownerReferences"][0]["kind"] == "Node"


async def test_disk_moves_from_node_to_node_only_when_the_first_lets_go(lab: Lab) -> None:
    await lab.apply(claim("disk", "block-rwo", "ReadWriteOnce"), pod("first", "disk", node="node-b"))
    pv = await lab.bound("disk")
    name = attachable_name(pv)
    assert name
    await wait_attached(lab.kube, pv, "node-b", DEADLINE_S)
    await lab.event("SuccessfulAttachVolume", "first")
    await lab.until(
        path("nodes"),
        lambda nodes: name in [v["name"] for v in nodes["node-b"]["status"].get("volumesAttached", [])],
    )
    await set_in_use(lab, "node-b", name)

    await lab.apply(pod("second", "disk", node="node-b2"))
    message = await lab.event("FailedAttachVolume", "second")
    assert "Multi-Attach error for volume" in message
    assert "first" in message, "it names the pod that holds the disk"
    node_b2 = await lab.kube.get(path("nodes", name="node-b2"))
    with pytest.raises(NotAttached, match="node-b2"):
        await publish(lab.kube, lab.volumes.root, pv, node_b2)

    await lab.delete("pod", "first", "--grace-period=0", "--force")
    await lab.gone("pods", "first", lab.namespace)
    await an_attachment_later(lab)
    attachments = await lab.kube.get(path(ATTACHMENTS))
    by_name = {item["metadata"]["name"]: item for item in attachments["items"]}
    assert attached_to(by_name, pv) == ["node-b"], "the node still has it mounted"

    await set_in_use(lab, "node-b")
    assert await lab.until(path(ATTACHMENTS), lambda items: attached_to(items, pv) == ["node-b2"])
    await lab.event("SuccessfulAttachVolume", "second")
    assert (await publish(lab.kube, lab.volumes.root, pv, node_b2)).path == lab.directory(pv)


async def test_two_pods_on_one_node_share_a_disk(lab: Lab) -> None:
    await lab.apply(
        claim("disk", "block-rwo", "ReadWriteOnce"),
        pod("first", "disk", node="node-a"),
        pod("second", "disk", node="node-a"),
    )
    pv = await lab.bound("disk")
    await wait_attached(lab.kube, pv, "node-a", DEADLINE_S)
    await lab.event("SuccessfulAttachVolume", "first")
    assert await lab.scheduled("second") == "node-a"


async def test_single_pod_disk_keeps_a_second_pod_waiting(lab: Lab) -> None:
    await lab.apply(claim("disk", "block-rwo", "ReadWriteOncePod"), pod("first", "disk", node="node-a"))
    await lab.bound("disk")
    await lab.scheduled("first")
    await lab.apply(pod("second", "disk", node="node-a"))
    assert "ReadWriteOncePod" in await lab.event("FailedScheduling", "second")


async def test_handle_without_a_disk_fails_to_attach(lab: Lab) -> None:
    """An administrator's volume with a wrong handle."""
    name = lab.namespace + "-static"
    pv: Object = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "static",
            "csi": {"driver": BLOCK, "volumeHandle": "vol-typo"},
            "claimRef": {"namespace": lab.namespace, "name": "disk"},
        },
    }
    await lab.apply(pv, {**claim("disk", "static", "ReadWriteOnce", size="1Gi")}, pod("user", "disk", node="node-a"))
    assert "there is no disk 'vol-typo'" in await lab.event("FailedAttachVolume", "user")
    with pytest.raises(NotAttached, match="there is no disk 'vol-typo'"):
        await wait_attached(lab.kube, await lab.bound("disk"), "node-a", 0.1)
    await lab.delete("pod", "user", "--grace-period=0", "--force")
    await lab.delete("pvc", "disk")
    await lab.delete("pv", name)
    await lab.gone("persistentvolumes", name)


async def test_volume_of_another_zone_is_refused_by_the_node(lab: Lab) -> None:
    await lab.apply(claim("disk", "block-rwo", "ReadWriteOnce"), pod("user", "disk", node="node-b"))
    pv = await lab.bound("disk")
    with pytest.raises(WrongNode, match="node-a"):
        await publish(lab.kube, lab.volumes.root, pv, await lab.kube.get(path("nodes", name="node-a")))


@pytest.mark.parametrize("way", ["clean shutdown", "out-of-service taint"])
async def test_disk_of_a_lost_node_moves_on(lab: Lab, way: str) -> None:
    """A reclaimed node either unmounted its disks, or someone vouches that it is off."""
    lost = lab.namespace + "-node"
    await paper_node(lab.kube, lost, "sandbox-b")
    await lab.apply(claim("disk", "block-rwo", "ReadWriteOnce"), pod("first", "disk", node=lost))
    pv = await lab.bound("disk")
    await wait_attached(lab.kube, pv, lost, DEADLINE_S)
    await lab.event("SuccessfulAttachVolume", "first")
    if way == "clean shutdown":
        await lab.delete("node", lost)
    else:
        await set_in_use(lab, lost, str(attachable_name(pv)))
        taint = {"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}
        await lab.kube.patch(path("nodes", name=lost), {"spec": {"taints": [taint]}})
    await lab.delete("pod", "first", "--grace-period=0", "--force")
    await lab.apply(pod("second", "disk", node="node-b"))
    assert await lab.until(path(ATTACHMENTS), lambda items: attached_to(items, pv) == ["node-b"])
    if way != "clean shutdown":
        await lab.delete("node", lost)
    await lab.gone(CSI_NODES, lost)
