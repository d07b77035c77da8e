"""One simulated node: registration, heartbeat, its pods and its addresses."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Iterable
from typing import Any

import aiohttp

from vllm_sandbox.config import NodeSpec
from vllm_sandbox.kube import STRATEGIC, ApiError, path
from vllm_sandbox.node.adoption import GPUS
from vllm_sandbox.node.claims import NodeClaims
from vllm_sandbox.node.clock import now_micro
from vllm_sandbox.node.devices import DeviceManager, node_gpus
from vllm_sandbox.node.node_status import (
    MANAGED,
    MAX_PODS,
    Readiness,
    configured_labels,
    node_status,
    own_labels,
)
from vllm_sandbox.node.pod import PodWorker
from vllm_sandbox.node.runtime import Runtime
from vllm_sandbox.node.status import is_critical

log = logging.getLogger(__name__)

Object = dict[str, Any]
LEASE_S = 20
RENEW_S = LEASE_S / 4  # the kubelet's share
BOOT_S = 60.0
"""From the request for an instance to a ready node, on real hardware; divided by the time scale."""
BOOTING = "container runtime network not ready: the (simulated) instance is booting"

KUBELET = "sandbox.vllm-runbook.dev/kubelet"
KUBELET_STOPPED = "stopped"
"""With the annotation ``KUBELET: KUBELET_STOPPED`` on its Node, the node's kubelet stands still: no lease, no status,
no pod is started, ended or probed; containers that run go on. It resumes when the annotation is removed."""


class SimulatedNode:
    """A node whose pods are processes of this machine.

    Args:
        index: number of the node, which picks its pods' addresses.
        pod_prefix: first two octets of pod addresses on the loopback, e.g. ``127.244``.
        kubelet_port: where the agent answers the API server's calls for logs.
        adopted: the Node object, when somebody else created it.

    Attributes:
        pods: by uid.
        kubelet: set while the node's kubelet runs.
        powered: False after :meth:`power_off`.
    """

    def __init__(
        self,
        runtime: Runtime,
        spec: NodeSpec,
        index: int,
        pod_prefix: str,
        kubelet_port: int,
        adopted: Object | None = None,
    ) -> None:
        self.name = spec.name
        self.index = index
        self.pods: dict[str, PodWorker] = {}
        self.devices = DeviceManager(node_gpus(spec), self._status_changed)
        self.kubelet = asyncio.Event()
        self.kubelet.set()
        self.powered = True
        self._runtime = runtime
        self._spec = spec
        self._kubelet_port = kubelet_port
        self._adopted = adopted
        self._subnet = f"{pod_prefix}.{index}"
        # first in, first out: an address is reused as late as possible, so that nobody who still
        # holds it reaches another pod
        self._addresses = deque(f"{self._subnet}.{host}" for host in range(2, 2 + MAX_PODS))
        self._changed = asyncio.Event()
        self._readiness = Readiness()
        self.claims = NodeClaims(runtime.kube, spec.name, runtime.volumes_root, self._status_changed)
        self._uid = ""  # of the Node object
        self._life: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[None]] = set()
        self.shutting_down = False

    # -- addresses -----------------------------------------------------------------------------

    def take_address(self) -> str:
        return self._addresses.popleft()

    def return_address(self, ip: str) -> None:
        self._addresses.append(ip)

    # -- life ----------------------------------------------------------------------------------

    def power_on(self) -> None:
        """Register, then run pods and keep the lease until the power or the sandbox goes."""
        self._life = asyncio.get_running_loop().create_task(self._run())

    async def power_off(self) -> None:
        """As if its plug were pulled: every process dies at once, and nothing is written to the API any more."""
        self.powered = False
        self.kubelet.clear()
        for worker in self.pods.values():
            worker.lose()
        await self.stop()
        self.pods.clear()

    async def stop(self) -> None:
        """End every pod's processes now (the sandbox goes down); the Node object stays as it is."""
        if self._life:
            self._life.cancel()
            await asyncio.gather(self._life, return_exceptions=True)
        if not self.kubelet.is_set():  # its pods would wait for it before they write how they ended
            for worker in self.pods.values():
                worker.lose()
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def run_kubelet(self, running: bool) -> None:
        """Stop the kubelet, or let it go on and report its node and pods anew; the containers notice nothing."""
        if running == self.kubelet.is_set() or not self.powered:
            return
        if running:
            self._readiness.set(self._readiness.reason)  # meanwhile it was Unknown
            self.kubelet.set()
            self._status_changed()
            for worker in self.pods.values():
                worker.changed()  # the node controller has called it not ready meanwhile
        else:
            self.kubelet.clear()

    def say_not_ready(self, reason: str) -> None:
        """Report the node as not ready from now on, as a kubelet does that is shutting its node down."""
        self._readiness.set(reason)
        self._status_changed()

    async def shut_down(self, ordinary_s: float, critical_s: float) -> None:
        """The kubelet's graceful node shutdown (KEP-2000): no budget is asked, and no grace period outlasts it.

        The node is NotReady from now on; ordinary pods end first, then the system-critical ones.
        """
        self.shutting_down = True
        self.say_not_ready("node is shutting down")
        for critical, seconds in ((False, ordinary_s), (True, critical_s)):
            workers = [worker for worker in self.pods.values() if is_critical(worker.spec) is critical]
            for worker in workers:
                worker.shut_down(seconds)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await asyncio.gather(*(worker.over.wait() for worker in workers))

    async def _run(self) -> None:
        try:
            await self._register()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_lease())
                group.create_task(self._keep_status())
                selector = f"spec.nodeName={self.name}"
                group.create_task(self._runtime.kube.follow(path("pods"), self._on_pod, fieldSelector=selector))
        except Exception:
            log.exception("node %s has ended inside the agent", self.name)

    async def _on_pod(self, kind: str, pod: Object) -> None:
        await self.kubelet.wait()
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
        if self._adopted:
            await self._boot(self._adopted)
            return
        kube = self._runtime.kube
        labels = configured_labels(self._spec)
        body = {
            "metadata": {"name": self.name, "labels": labels},
            "spec": {
                "podCIDR": self._pod_cidr,
                "providerID": f"sandbox://{self.name}",
                "taints": [t.model_dump() for t in self._spec.taints],
            },
        }
        try:
            made = await kube.create(path("nodes"), {"apiVersion": "v1", "kind": "Node", **body})
        except ApiError as error:
            if error.code != 409:
                raise
            made = await kube.patch(path("nodes", name=self.name), {"metadata": {"labels": labels}})
        self._uid = made["metadata"]["uid"]
        await self._write_status()

    async def _boot(self, node: Object) -> None:
        """Take over a Node object, and become ready after the time that an instance takes to boot."""
        self._uid = node["metadata"]["uid"]
        known = MANAGED in node["metadata"].get("labels", {})  # an earlier agent's
        if not known:
            self._readiness.set(BOOTING)
        status = node.get("status", {})
        # first: until then it has the GPUs that no plugin has advertised
        await self._write_status(forget={*status.get("capacity", {}), *status.get("allocatable", {})})
        if known:
            return
        metadata = {"labels": own_labels(self._spec), "annotations": {GPUS: str(self._spec.gpus)}}
        body = {"metadata": metadata, "spec": {"podCIDR": self._pod_cidr}}
        await self._runtime.kube.patch(path("nodes", name=self.name), body)
        await asyncio.sleep(BOOT_S / self._runtime.time_scale)
        self._readiness.set("")
        self._status_changed()

    @property
    def _pod_cidr(self) -> str:
        return f"{self._subnet.replace('127.', '10.', 1)}.0/24"

    def _status_changed(self) -> None:
        self._changed.set()

    async def _keep_status(self) -> None:
        while True:
            await self._changed.wait()
            await self.kubelet.wait()
            self._changed.clear()
            try:
                await self._write_status()
            except (ApiError, aiohttp.ClientError, TimeoutError, OSError) as error:
                log.warning("status of node %s: %s", self.name, error)
                await asyncio.sleep(1)
                self._changed.set()

    async def _write_status(self, forget: Iterable[str] = ()) -> None:
        """Write the whole status; resources in ``forget`` that aren't the node's are taken out of it."""
        status = node_status(self._spec, self.devices, self.claims.in_use, self._kubelet_port, self._readiness)
        for resources in ("capacity", "allocatable"):
            status[resources] = dict.fromkeys(forget) | status[resources]
        await self._runtime.kube.patch(path("nodes", name=self.name, sub="status"), {"status": status}, STRATEGIC)

    async def _keep_lease(self) -> None:
        kube, namespace = self._runtime.kube, "kube-node-lease"
        url = path("coordination.k8s.io/v1/leases", namespace, self.name)
        owner = {"apiVersion": "v1", "kind": "Node", "name": self.name, "uid": self._uid}
        while True:
            await self.kubelet.wait()
            spec = {"holderIdentity": self.name, "leaseDurationSeconds": LEASE_S, "renewTime": now_micro()}
            body = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self.name, "namespace": namespace, "ownerReferences": [owner]},
                "spec": spec,
            }
            with contextlib.suppress(ApiError, aiohttp.ClientError, TimeoutError, OSError):
                await kube.apply(url, body, manager="kubelet")
            await asyncio.sleep(RENEW_S)
