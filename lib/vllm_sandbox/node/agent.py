"""The node agent: all simulated nodes of one sandbox in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from vllm_sandbox.config import NodeSpec, SandboxConfig
from vllm_sandbox.images.catalogue import register_all
from vllm_sandbox.kube import Kube, path
from vllm_sandbox.network import Network
from vllm_sandbox.node.adoption import is_adoptable, spec_of
from vllm_sandbox.node.events import EventRecorder
from vllm_sandbox.node.log_server import log_server
from vllm_sandbox.node.node import KUBELET, KUBELET_STOPPED, SimulatedNode
from vllm_sandbox.node.pod import PodWorker
from vllm_sandbox.node.reports import ReportSocket
from vllm_sandbox.node.runtime import Runtime

log = logging.getLogger(__name__)

Object = dict[str, Any]
LAST_SUBNET = 254  # the one after it is the proxy's


@dataclass(frozen=True)
class Surroundings:
    """What the agent needs to know of the sandbox that it is part of.

    Attributes:
        sandbox_id: marker in the environment of every process of this sandbox.
        state_dir: where pods and nodes keep their files.
        api_server, ca, certificate, key: the control plane and its administrator's key pair.
        network: gives pods their way to each other.
        binary: finds one of the sandbox's binaries.
        volumes_root: directory of all persistent volumes.
    """

    sandbox_id: str
    state_dir: Path
    api_server: str
    ca: Path
    certificate: Path
    key: Path
    network: Network
    binary: Callable[[str], Path]
    volumes_root: Path


class NodeAgent:
    """All simulated nodes: the configured ones, and those that Karpenter's kwok provider creates.

    A node ends with its Node object. A configured one then stays away until :meth:`restore`, or until the sandbox
    starts again.

    Attributes:
        nodes: by name; one whose power is off stays until its Node object goes.
    """

    def __init__(self, config: SandboxConfig) -> None:
        self.nodes: dict[str, SimulatedNode] = {}
        self._configured = {spec.name: (index, spec) for index, spec in enumerate(config.nodes)}
        # first in, first out, as with the addresses of pods
        self._free = deque(range(len(config.nodes), LAST_SUBNET + 1))
        self._pod_prefix = config.pod_cidr.removesuffix(".0.0/16").replace("10.", "127.", 1)
        self._runtime: Runtime | None = None
        self._port = 0

    def find_pod(self, namespace: str, name: str) -> PodWorker | None:
        """The pod of this name that an agent's node runs."""
        for node in self.nodes.values():
            for worker in node.pods.values():
                meta = worker.pod["metadata"]
                if meta["name"] == name and meta["namespace"] == namespace:
                    return worker
        return None

    async def run(self, runtime: Runtime, kubelet_port: int) -> None:
        """Start the configured nodes, and follow the Node objects until cancelled."""
        self._runtime, self._port = runtime, kubelet_port
        for name in self._configured:
            self.restore(name)
        try:
            await runtime.kube.follow(path("nodes"), self._on_node)
        except Exception:
            log.exception("the agent doesn't follow the Node objects any more")

    async def stop(self) -> None:
        """End every pod's processes (the sandbox goes down)."""
        await asyncio.gather(*(node.stop() for node in self.nodes.values()))

    def restore(self, name: str) -> None:
        """Start a configured node, again after its Node object was deleted; nothing happens while it is there.

        Raises:
            KeyError: the configuration has no node of this name.
        """
        index, spec = self._configured[name]
        if name not in self.nodes:
            self._start(spec, index)

    def _start(self, spec: NodeSpec, index: int, adopted: Object | None = None) -> None:
        assert self._runtime
        node = SimulatedNode(self._runtime, spec, index, self._pod_prefix, self._port, adopted)
        self.nodes[spec.name] = node
        node.power_on()

    async def _on_node(self, kind: str, item: Object) -> None:
        name = item["metadata"]["name"]
        node = self.nodes.get(name)
        if kind == "DELETED":
            if node:
                await self._remove(node)
            return
        if node is None and name not in self._configured and is_adoptable(item):
            self._adopt(item)
        if node := self.nodes.get(name):
            node.run_kubelet(item["metadata"].get("annotations", {}).get(KUBELET) != KUBELET_STOPPED)

    def _adopt(self, item: Object) -> None:
        name = item["metadata"]["name"]
        try:
            spec = spec_of(item)
            index = self._index_for(item)
        except (ValueError, IndexError) as error:
            log.error("node %s can't be run: %s", name, error)
            return
        log.info("node %s: %d GPUs, in %s", name, spec.gpus, spec.zone)
        self._start(spec, index, item)

    def _index_for(self, item: Object) -> int:
        """A free subnet; that of an earlier agent for a node that has one already."""
        subnet = item["spec"].get("podCIDR", "").removesuffix(".0/24").rpartition(".")[2]
        if subnet.isdigit() and int(subnet) in self._free:
            self._free.remove(int(subnet))
            return int(subnet)
        return self._free.popleft()

    async def _remove(self, node: SimulatedNode) -> None:
        """The instance was terminated: its Node object is gone."""
        await node.power_off()
        del self.nodes[node.name]
        if node.name not in self._configured:
            self._free.append(node.index)
        log.info("node %s is gone", node.name)


@contextlib.asynccontextmanager
async def running_agent(kube: Kube, config: SandboxConfig, around: Surroundings) -> AsyncIterator[NodeAgent]:
    """Run the nodes; at the end every pod's processes are ended."""
    register_all(config.images, config.engine)
    agent = NodeAgent(config)
    # directories of pods of an earlier agent: their processes are gone
    shutil.rmtree(around.state_dir / "pods", ignore_errors=True)
    reports = ReportSocket(around.state_dir / "agent.sock")
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as http,
        reports.listening(),
        log_server(agent.find_pod, around.certificate, around.key, around.ca) as port,
    ):
        task = asyncio.create_task(agent.run(_runtime(kube, config, around, http, reports), port))
        try:
            yield agent
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await agent.stop()


def _runtime(
    kube: Kube, config: SandboxConfig, around: Surroundings, http: aiohttp.ClientSession, reports: ReportSocket
) -> Runtime:
    async def services(namespace: str) -> list[Object]:
        own = await kube.get(path("services", namespace), resourceVersion="0")
        api = await kube.get(path("services", "default", "kubernetes"))
        return [*own["items"], api]

    return Runtime(
        kube=kube,
        http=http,
        events=EventRecorder(kube),
        reports=reports,
        root=around.state_dir,
        api_server=around.api_server,
        ca_file=around.ca,
        base_env={
            "SANDBOX_ID": around.sandbox_id,
            "SANDBOX_TIME_SCALE": f"{config.time_scale:g}",
        },
        network=around.network,
        binary=around.binary,
        services=services,
        volumes_root=around.volumes_root,
        time_scale=config.time_scale,
    )
