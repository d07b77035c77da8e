"""One pod on one node, from admission to its last status."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from vllm_sandbox.kube import STRATEGIC, ApiError, path
from vllm_sandbox.node import status as pod_status
from vllm_sandbox.node.claims import NodeClaims
from vllm_sandbox.node.clock import now
from vllm_sandbox.node.container import Container
from vllm_sandbox.node.devices import DeviceManager, NotEnoughDevices
from vllm_sandbox.node.launch import Launch, command_beside, container_launch
from vllm_sandbox.node.logs import ContainerLog
from vllm_sandbox.node.mounts import MountError, PodVolumes
from vllm_sandbox.node.probes import Exec, Target
from vllm_sandbox.node.process import Start
from vllm_sandbox.node.runtime import Runtime
from vllm_sandbox.volumes.mount import MountedVolume

log = logging.getLogger(__name__)

Object = dict[str, Any]
REFRESH_S = 60.0  # the kubelet's sync period for ConfigMap, Secret and token volumes
MOUNT_RETRY_S = 2.0
GPU = "nvidia.com/gpu"
SHUTDOWN = "Pod was terminated in response to imminent node shutdown."  # the kubelet's words


class Node(Protocol):
    """What a pod needs of its node. While ``kubelet`` isn't set, nothing is done or written for the pod."""

    name: str
    devices: DeviceManager
    claims: NodeClaims
    shutting_down: bool
    kubelet: asyncio.Event

    def take_address(self) -> str: ...

    def return_address(self, ip: str) -> None: ...


class PodWorker:
    """Runs one pod and tells the API server what became of it.

    Attributes:
        stopping: set as soon as the pod is to end, for whatever reason.
        over: set when it has ended and its last status is written.
        containers: every container, init containers first.
        proxy_url: its way to everything else in the cluster.
    """

    def __init__(self, runtime: Runtime, node: Node, pod: Object) -> None:
        self.runtime = runtime
        self.node = node
        self.pod = pod
        self.spec: Object = pod["spec"]
        self.uid: str = pod["metadata"]["uid"]
        self.devices = node.devices
        self.stopping = asyncio.Event()
        self.over = asyncio.Event()
        self.root = runtime.root / "pods" / self.uid
        self.ip = ""
        self.proxy_url = runtime.network.proxy_url
        self.gpus: dict[str, list[Object]] = {}
        self._launches: dict[str, Launch] = {}
        self.volumes = PodVolumes(runtime.kube, pod, self.root, runtime.root / "nodes" / node.name, self._claim)
        self.init = [Container(self, spec, init=True) for spec in self.spec.get("initContainers", [])]
        self.main = [Container(self, spec, init=False) for spec in self.spec["containers"]]
        self._mounted = False
        self._ended: tuple[str, str, str] | None = None  # phase, reason, message set from outside
        self._conditions: list[Object] = []
        self._disruption: list[Object] = []
        self._dirty = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._termination: asyncio.Task[None] | None = None
        self._grace_s = float("inf")
        self._lost = False

    @property
    def containers(self) -> list[Container]:
        return [*self.init, *self.main]

    @property
    def grace_s(self) -> float:
        """Seconds that the pod's containers get to end by themselves."""
        return float(self.spec.get("terminationGracePeriodSeconds", 30))

    @property
    def stop_grace_s(self) -> float:
        """Seconds that a container gets now: less than :attr:`grace_s` when deletion asked for less."""
        return max(min(self._grace_s, self.grace_s), 1.0)

    # -- the pod's life ------------------------------------------------------------------------

    async def run(self) -> None:
        """The whole life; returns when the pod has ended and its status is written."""
        if self.pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            await self._leave_only_the_object()
            return
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.ip = "127.0.0.1" if self.spec.get("hostNetwork") else self.node.take_address()
        reporter = self.spawn(self._report())
        try:
            if not self.spec.get("hostNetwork"):
                self.proxy_url = await self.runtime.network.join(self.ip, lambda: self.pod)
            self.update(self.pod)
            self._start_deadline()
            await self._live()
        finally:
            reporter.cancel()
            try:
                with contextlib.suppress(Exception):
                    await self._finish()
            finally:
                self.over.set()
                for task in list(self._tasks):
                    task.cancel()
                if self._lost:
                    shutil.rmtree(self.root, ignore_errors=True)

    async def _live(self) -> None:
        if self._lost_with_the_last_agent() or not self._admit():
            return
        self.changed()
        await self._mount()
        running: dict[Container, asyncio.Task[int]] = {}
        for container in self.init:
            if not await self._initialize(container, running):
                break
        else:
            if not self.stopping.is_set():
                mains = [self.spawn(container.run()) for container in self.main]
                running |= dict(zip(self.main, mains, strict=True))
                self.spawn(self._refresh())
                await asyncio.gather(*mains)
        # sidecars end after the containers that they serve, the last one first
        for container in reversed(list(running)):
            if container.init:
                self.stopping.set()
                await container.stop(self.grace_s)
        await asyncio.gather(*running.values())
        if self._termination:
            await self._termination

    def _lost_with_the_last_agent(self) -> bool:
        """Containers that must not restart and were running when an earlier agent ended."""
        old = {s["name"]: s for s in self.pod.get("status", {}).get("containerStatuses", [])}
        if self.spec.get("restartPolicy") != "Never" or not any(s["state"].get("running") for s in old.values()):
            return False
        for container in self.main:
            container.lost(old[container.name])
        return True

    def _admit(self) -> bool:
        """Give the containers the devices that they were scheduled with."""
        if self.node.shutting_down:
            self._ended = ("Failed", "NodeShutdown", "Pod was rejected as the node is shutting down.")
            return False
        try:
            for container in self.containers:
                count = int(container.spec.get("resources", {}).get("limits", {}).get(GPU, 0))
                if count and not (container.init and self.main):
                    self.gpus[container.name] = self.devices.allocate(self.uid, GPU, count)
                    container.gpus_used(0, 0)
        except NotEnoughDevices as error:
            self._ended = ("Failed", "UnexpectedAdmissionError", str(error))
            self.event("Warning", "UnexpectedAdmissionError", str(error))
            return False
        return True

    async def _mount(self) -> None:
        while not self.stopping.is_set():
            try:
                await self.volumes.prepare()
            except MountError as error:
                self.event("Warning", error.reason, str(error))
            except (ApiError, aiohttp.ClientError) as error:
                self.event("Warning", "FailedMount", f"MountVolume.SetUp failed: {error}")
            else:
                self._mounted = True
                return
            await self.pause(MOUNT_RETRY_S)

    async def _initialize(self, container: Container, running: dict[Container, asyncio.Task[int]]) -> bool:
        """Run an init container to its end, or a sidecar to its start."""
        if self.stopping.is_set():
            return False
        task = self.spawn(container.run())
        if not pod_status.is_sidecar(container.spec):
            return await task == 0 and not self.stopping.is_set()
        running[container] = task
        started = self.spawn(container.started.wait())
        await asyncio.wait([task, started], return_when=asyncio.FIRST_COMPLETED)
        return container.started.is_set()

    # -- ending --------------------------------------------------------------------------------

    def update(self, pod: Object) -> None:
        """A new version of the object: notices deletion and shorter grace periods."""
        self.pod = pod
        if pod["metadata"].get("deletionTimestamp"):
            self.terminate(float(pod["metadata"].get("deletionGracePeriodSeconds") or 0))
        elif self.spec.get("readinessGates"):
            self.changed()  # others write the conditions that the gates name

    def terminate(self, grace_s: float) -> None:
        """Stop every container within ``grace_s``; a shorter grace replaces a longer one."""
        if grace_s >= self._grace_s:
            return
        first, self._grace_s = self._termination is None, grace_s
        if self._termination:
            self._termination.cancel()
        self.stopping.set()
        self._termination = self.spawn(self._terminate(max(grace_s, 1.0), first=first))

    async def _terminate(self, grace_s: float, *, first: bool) -> None:
        for container in self.containers:
            container.keep_only_readiness()
            if first and "running" in container.status["state"]:
                self.event("Normal", "Killing", f"Stopping container {container.name}", container=container.name)
        await asyncio.gather(*(c.stop(grace_s, run_hook=first) for c in self.main))
        await asyncio.gather(*(c.stop(grace_s, run_hook=first) for c in self.init))

    def fail(self, reason: str, message: str) -> None:
        """End the pod as Failed from the node's side, for its deadline."""
        self._ended = ("Failed", reason, message)
        self.terminate(self.grace_s)

    def shut_down(self, grace_s: float) -> None:
        """End it for the shutdown of its node: whatever grace period it has, it gets no more than this."""
        self._ended = ("Failed", "Terminated", SHUTDOWN)
        why = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet", "message": SHUTDOWN}
        self._disruption = [{**why, "lastTransitionTime": now()}]
        self.changed()
        self.terminate(min(grace_s, self.grace_s))

    def lose(self) -> None:
        """The node is no more: its processes die at once, and nobody is told."""
        self._lost = True
        self.stopping.set()
        for container in self.containers:
            container.kill()

    def _start_deadline(self) -> None:
        if seconds := self.spec.get("activeDeadlineSeconds"):

            async def deadline() -> None:
                if not await self.pause(seconds):
                    await self.node.kubelet.wait()
                    self.fail("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")

            self.spawn(deadline())

    async def _finish(self) -> None:
        """Write the last status, free what the pod held, remove the object when it was deleted."""
        self.stopping.set()
        for container in self.containers:
            await container.stop(0, run_hook=False)
        if self.pod["metadata"].get("deletionTimestamp"):
            for container in self.main:  # deleted before it started: who waits for an end must see one
                if "terminated" not in container.status["state"]:
                    container.lost(container.status)
        self.devices.release(self.uid)
        self.node.claims.release(self.uid)
        if self.ip.startswith("127.") and not self.spec.get("hostNetwork"):
            self.runtime.network.leave(self.ip)
            self.node.return_address(self.ip)
        if self._lost:
            return
        await self.node.kubelet.wait()
        await self._write_status()
        await self._leave_only_the_object()

    async def _leave_only_the_object(self) -> None:
        """Once deletion was asked for, let the API server forget the pod."""
        if self.pod["metadata"].get("deletionTimestamp"):
            meta = self.pod["metadata"]
            body = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.uid}}
            with contextlib.suppress(ApiError, aiohttp.ClientError):
                await self.runtime.kube.delete(path("pods", meta["namespace"], meta["name"]), body)
            shutil.rmtree(self.root, ignore_errors=True)

    # -- for containers ------------------------------------------------------------------------

    async def prepare_start(self, container: Container) -> Start:
        """How to start ``container``; raises ConfigError or UnknownExecutable."""
        if container.status["restartCount"]:  # the kubelet's sync after a container's end brings volumes up to date
            await self._refresh_volumes()
        launch = self._launches[container.name] = await container_launch(self, container)
        return launch.start

    def command_beside(self, container: Container, command: list[str]) -> Start:
        """How to run an exec probe or hook in a running container."""
        return command_beside(self._launches[container.name], command)

    def target(self, container: Container, execute: Exec) -> Target:
        ports = {p["name"]: p["containerPort"] for p in container.spec.get("ports", []) if "name" in p}
        return Target(self.runtime.http, self.ip, self.shown_ip, ports, execute)

    @property
    def shown_ip(self) -> str:
        """The pod's IP as the cluster knows it."""
        return self.ip if self.spec.get("hostNetwork") else self.ip.replace("127.", "10.", 1)

    def new_log(self, container: str, run: int) -> ContainerLog:
        return ContainerLog(self.root / "logs" / container / f"{run}.log")

    def termination_file(self, container: Container) -> Path:
        file: Path = self.root / "containers" / container.name / "termination-log"
        return file

    async def pause(self, seconds: float) -> bool:
        """Wait; True as soon as the pod is to stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        return self.stopping.is_set()

    def event(self, kind: str, reason: str, message: str, container: str = "") -> None:
        if self.node.kubelet.is_set():  # it is the kubelet that records them
            self.runtime.events(self.pod, kind, reason, message, self.node.name, container)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task that ends with the pod."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # -- status --------------------------------------------------------------------------------

    def changed(self) -> None:
        """The status has changed: write it soon."""
        self._dirty.set()

    async def _report(self) -> None:
        while True:
            await self._dirty.wait()
            await self.node.kubelet.wait()
            self._dirty.clear()
            try:
                await self._write_status()
            except (aiohttp.ClientError, TimeoutError, OSError):
                await asyncio.sleep(1)
                self._dirty.set()

    async def _write_status(self) -> None:
        meta = self.pod["metadata"]
        body = {"metadata": {"uid": self.uid}, "status": self._status()}
        try:
            await self.runtime.kube.patch(path("pods", meta["namespace"], meta["name"], "status"), body, STRATEGIC)
        except ApiError as error:
            if error.code not in (404, 409):  # gone, or another pod of this name
                log.warning("status of pod %s/%s: %s", meta["namespace"], meta["name"], error)

    def _status(self) -> Object:
        init = [c.status for c in self.init]
        main = [c.status for c in self.main]
        phase, reason, message = pod_status.phase(self.spec, init, main), "", ""
        if self._ended and not any("running" in each["state"] for each in (*init, *main)):  # no end before theirs
            phase, reason, message = self._ended
        disruption = self._disruption if reason else []  # as the kubelet does it: with the end, not before
        ours = {c["type"] for c in self._conditions}
        others = [c for c in self.pod.get("status", {}).get("conditions", []) if c["type"] not in ours]
        self._conditions = pod_status.conditions(
            self.spec, phase, init, main, [*self._conditions, *others], mounted=self._mounted
        )
        status = pod_status.whole(self.pod, phase, [*self._conditions, *disruption], init, main)
        if reason:
            status |= {"reason": reason, "message": message}
        if self.ip and self._mounted:
            status |= pod_status.addresses(self.shown_ip)
        return status

    # -- upkeep --------------------------------------------------------------------------------

    async def _claim(self, name: str, read_only: bool) -> MountedVolume:
        return await self.node.claims.mount(self.pod, name, read_only)

    async def _refresh(self) -> None:
        while not await self.pause(REFRESH_S):
            await self._refresh_volumes()

    async def _refresh_volumes(self) -> None:
        with contextlib.suppress(MountError, ApiError, aiohttp.ClientError, TimeoutError):
            await self.volumes.refresh()
