"""One simulated node: registration, heartbeat, its pods and its addresses."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from typing import Any

import aiohttp

from vllm_sandbox.config import GIB, NodeSpec
from vllm_sandbox.kube import STRATEGIC, ApiError, path
from vllm_sandbox.node.claims import NodeClaims
from vllm_sandbox.node.clock import now, now_micro
from vllm_sandbox.node.devices import DeviceManager, node_gpus
from vllm_sandbox.node.pod import PodWorker
from vllm_sandbox.node.runtime import Runtime
from vllm_sandbox.node.status import Status
from vllm_sandbox.versions import KUBERNETES

log = logging.getLogger(__name__)

Object = dict[str, Any]
MANAGED = "sandbox.vllm-runbook.dev/managed"
LEASE_S = 20
RENEW_S = LEASE_S / 4  # the kubelet's share
MAX_PODS = 250


class SimulatedNode:
    """A node whose pods are processes of this machine.

    Args:
        index: number of the node, which picks its pods' addresses.
        pod_prefix: first two octets of pod addresses on the loopback, e.g. ``127.244``.
        kubelet_port: where the agent answers the API server's calls for logs.
    """

    def __init__(self, runtime: Runtime, spec: NodeSpec, index: int, pod_prefix: str, kubelet_port: int) -> None:
        self.name = spec.name
        self.pods: dict[str, PodWorker] = {}
        self.devices = DeviceManager(node_gpus(spec), self._status_changed)
        self._runtime = runtime
        self._spec = spec
        self._kubelet_port = kubelet_port
        self._subnet = f"{pod_prefix}.{index}"
        # first in, first out: an address is reused as late as possible, so that nobody who still
        # holds it reaches another pod
        self._addresses = deque(f"{self._subnet}.{host}" for host in range(2, 2 + MAX_PODS))
        self._changed = asyncio.Event()
        self.claims = NodeClaims(runtime.kube, spec.name, runtime.volumes_root, self._status_changed)
        self._running: set[asyncio.Task[None]] = set()

    # -- addresses -----------------------------------------------------------------------------

    def take_address(self) -> str:
        return self._addresses.popleft()

    def return_address(self, ip: str) -> None:
        self._addresses.append(ip)

    # -- life ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Register, then run pods and keep the lease until cancelled."""
        await self._register()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_lease())
            group.create_task(self._keep_status())
            follow = self._runtime.kube.follow(path("pods"), self._on_pod, fieldSelector=f"spec.nodeName={self.name}")
            group.create_task(follow)

    async def stop_pods(self) -> None:
        """End every pod's processes now (the sandbox goes down); statuses stay as they are."""
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _on_pod(self, kind: str, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        worker = self.pods.get(uid)
        if kind == "DELETED":
            if worker:
                worker.terminate(0)
        elif worker:
            worker.update(pod)
        else:
            worker = self.pods[uid] = PodWorker(self._runtime, self, pod)
            task = asyncio.get_running_loop().create_task(self._run_pod(worker))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _run_pod(self, worker: PodWorker) -> None:
        try:
            await worker.run()
        except Exception:
            log.exception("pod %s failed inside the agent", worker.pod["metadata"]["name"])
        finally:
            if worker.pod["metadata"].get("deletionTimestamp"):
                self.pods.pop(worker.uid, None)

    # -- the Node object -----------------------------------------------------------------------

    async def _register(self) -> None:
        kube = self._runtime.kube
        body = {
            "metadata": {"name": self.name, "labels": self._labels()},
            "spec": {
                "podCIDR": f"{self._subnet.replace('127.', '10.', 1)}.0/24",
                "providerID": f"sandbox://{self.name}",
                "taints": [t.model_dump() for t in self._spec.taints],
            },
        }
        try:
            await kube.create(path("nodes"), {"apiVersion": "v1", "kind": "Node", **body})
        except ApiError as error:
            if error.code != 409:
                raise
            await kube.patch(path("nodes", name=self.name), {"metadata": {"labels": self._labels()}})
        await self._write_status()

    def _labels(self) -> dict[str, str]:
        spec = self._spec
        labels = {
            MANAGED: "true",
            "kubernetes.io/hostname": spec.name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            "topology.kubernetes.io/zone": spec.zone,
            "topology.kubernetes.io/region": "sandbox",
            "node.kubernetes.io/instance-type": f"sandbox-{spec.gpus}gpu" if spec.gpus else "sandbox-cpu",
        }
        if spec.gpus:  # what Node Feature Discovery finds on a node with an NVIDIA card in it
            labels["feature.node.kubernetes.io/pci-10de.present"] = "true"
        return labels | spec.labels

    def _status_changed(self) -> None:
        self._changed.set()

    async def _keep_status(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._write_status()
            except (ApiError, aiohttp.ClientError, TimeoutError, OSError) as error:
                log.warning("status of node %s: %s", self.name, error)
                await asyncio.sleep(1)
                self._changed.set()

    async def _write_status(self) -> None:
        await self._runtime.kube.patch(
            path("nodes", name=self.name, sub="status"), {"status": self._status()}, STRATEGIC
        )

    def _status(self) -> Status:
        spec = self._spec
        own = {
            "cpu": str(spec.cpu),
            "memory": f"{spec.memory_gib * GIB // 1024}Ki",
            "ephemeral-storage": "1Ti",
            "pods": str(MAX_PODS),
        }
        return {
            "capacity": own | self.devices.capacity,
            "allocatable": own | self.devices.allocatable,
            # no Hostname: the API server would prefer it for logs, and no DNS of this machine knows it
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._kubelet_port}},
            "conditions": self._conditions(),
            "volumesInUse": self.claims.in_use,
            "nodeInfo": {
                "kubeletVersion": KUBERNETES,
                "kubeProxyVersion": KUBERNETES,
                "containerRuntimeVersion": "sandbox://processes",
                "osImage": "vllm-runbook sandbox (simulated node)",
                "kernelVersion": "",
                "operatingSystem": "linux",
                "architecture": "amd64",
                "machineID": spec.name,
                "systemUUID": spec.name,
                "bootID": spec.name,
            },
        }

    def _conditions(self) -> list[Status]:
        ready = ("Ready", "True", "KubeletReady", "kubelet is posting ready status")
        fine = [
            ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ]
        return [
            {"type": kind, "status": status, "reason": reason, "message": message, "lastHeartbeatTime": now()}
            for kind, status, reason, message in [*fine, ready]
        ]

    async def _keep_lease(self) -> None:
        kube, namespace = self._runtime.kube, "kube-node-lease"
        url = path("coordination.k8s.io/v1/leases", namespace, self.name)
        while True:
            spec = {"holderIdentity": self.name, "leaseDurationSeconds": LEASE_S, "renewTime": now_micro()}
            body = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self.name, "namespace": namespace},
                "spec": spec,
            }
            with contextlib.suppress(ApiError, aiohttp.ClientError, TimeoutError, OSError):
                await kube.apply(url, body, manager="kubelet")
            await asyncio.sleep(RENEW_S)
