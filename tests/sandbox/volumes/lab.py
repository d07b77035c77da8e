"""Helpers for tests that watch a real control plane through stock kubectl and a watch."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vllm_sandbox.kube import Kube, Object, path
from vllm_sandbox.volumes.names import HOSTNAME_LABEL, MANAGED_LABEL, ZONE_LABEL
from vllm_sandbox.volumes.run import Volumes

DEADLINE_S = 60.0


@dataclass
class Lab:
    """One namespace of a running cluster whose volume controllers run in this process."""

    kube: Kube
    kubectl_command: list[str]
    namespace: str
    volumes: Volumes

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        """Output of stock kubectl; raises with its error text."""
        done = subprocess.run([*self.kubectl_command, *args], input=stdin, capture_output=True, text=True)
        assert done.returncode == 0, f"kubectl {' '.join(args)}: {done.stderr}"
        return done.stdout

    async def open_namespace(self) -> None:
        """Create the namespace; pods are only accepted once it has its service account."""
        await self.kube.create(path("namespaces"), {"metadata": {"name": self.namespace}})
        await self.until(path("serviceaccounts", self.namespace), lambda accounts: "default" in accounts)

    async def apply(self, *objects: Object) -> None:
        """kubectl apply, in a thread: the controllers go on meanwhile."""
        await asyncio.to_thread(
            self.kubectl, "-n", self.namespace, "apply", "-f", "-", stdin=yaml.safe_dump_all(objects)
        )

    async def delete(self, *args: str) -> None:
        """kubectl delete without waiting for the end."""
        await asyncio.to_thread(self.kubectl, "-n", self.namespace, "delete", *args, "--wait=false")

    async def until(self, url: str, what: Callable[[dict[str, Object]], Any], **params: Any) -> Any:
        """First true value of ``what(objects by name)`` for a resource; fails after the deadline."""
        items: dict[str, Object] = {}
        found: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        listed = asyncio.Event()

        def look() -> None:
            if listed.is_set() and not found.done() and (value := what(items)):
                found.set_result(value)

        def changed(kind: str, item: Object) -> None:
            name = item["metadata"]["name"]
            if kind == "DELETED":
                items.pop(name, None)
            else:
                items[name] = item
            look()

        async def after_list() -> None:
            await listed.wait()
            look()

        tasks = [
            asyncio.create_task(self.kube.follow(url, changed, listed, **params)),
            asyncio.create_task(after_list()),
        ]
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await found
        except TimeoutError:
            raise AssertionError(f"{url} after {DEADLINE_S:.0f} s: {yaml.safe_dump(items)[-3000:]}") from None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def event(self, reason: str, involved: str, text: str = "") -> str:
        """Message of an event with ``reason`` about the object of that name, holding ``text``."""

        def find(events: dict[str, Object]) -> str | None:
            for item in events.values():
                same = item["reason"] == reason and item["involvedObject"]["name"] == involved
                if same and text in item["message"]:
                    return str(item["message"])
            return None

        namespace = "default" if involved.startswith("pvc-") else self.namespace
        return str(await self.until(path("events", namespace), find))

    async def bound(self, claim: str) -> Object:
        """The PersistentVolume of a claim, once it has one."""

        def find(claims: dict[str, Object]) -> str | None:
            item = claims.get(claim, {"status": {}})
            return item["spec"]["volumeName"] if item["status"].get("phase") == "Bound" else None

        name = await self.until(path("persistentvolumeclaims", self.namespace), find)
        return await self.kube.get(path("persistentvolumes", name=name))

    async def scheduled(self, pod: str) -> str:
        """Name of the node of a pod, once it has one."""
        return str(
            await self.until(
                path("pods", self.namespace), lambda pods: pods.get(pod, {"spec": {}})["spec"].get("nodeName")
            )
        )

    async def gone(self, resource: str, name: str, namespace: str | None = None) -> None:
        """Wait until an object doesn't exist any more."""
        await self.until(path(resource, namespace), lambda items: name not in items)

    def directory(self, pv: Object) -> Path:
        return self.volumes.root / str(pv["metadata"]["name"])


async def paper_node(kube: Kube, name: str, zone: str) -> None:
    """A node that is Ready and has room, though nothing runs it."""
    labels = {MANAGED_LABEL: "true", ZONE_LABEL: zone, HOSTNAME_LABEL: name}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
    await kube.apply(path("nodes", name=name), node)
    room = {"cpu": "8", "memory": "16Gi", "pods": "100"}
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
    status = {"status": {"capacity": room, "allocatable": room, "conditions": [ready]}}
    await kube.patch(path("nodes", name=name, sub="status"), status)


def claim(name: str, storage_class: str | None, *modes: str, size: str = "2Gi", source: str | None = None) -> Object:
    """A PersistentVolumeClaim; ``source`` is a claim to copy."""
    spec: Object = {"accessModes": list(modes), "resources": {"requests": {"storage": size}}}
    if storage_class:
        spec["storageClassName"] = storage_class
    if source:
        spec["dataSource"] = {"kind": "PersistentVolumeClaim", "name": source}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def pod(name: str, claim_name: str, node: str | None = None) -> Object:
    """A pod that uses a claim, on any node or on one chosen through the scheduler."""
    spec: Object = {
        "containers": [
            {"name": "main", "image": "busybox:1", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
        ],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim_name}}],
        "tolerations": [{"operator": "Exists"}],
    }
    if node:
        spec["nodeSelector"] = {"kubernetes.io/hostname": node}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
