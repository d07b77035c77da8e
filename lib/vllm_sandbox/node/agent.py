"""The node agent: all simulated nodes of one sandbox in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from vllm_sandbox.config import SandboxConfig
from vllm_sandbox.images.catalogue import register_all
from vllm_sandbox.kube import Kube, path
from vllm_sandbox.node.events import EventRecorder
from vllm_sandbox.node.log_server import log_server
from vllm_sandbox.node.node import SimulatedNode
from vllm_sandbox.node.pod import PodWorker
from vllm_sandbox.node.reports import ReportSocket
from vllm_sandbox.node.runtime import Runtime

Object = dict[str, Any]


@dataclass(frozen=True)
class Surroundings:
    """What the agent needs to know of the sandbox that it is part of.

    Attributes:
        sandbox_id: marker in the environment of every process of this sandbox.
        state_dir: where pods and nodes keep their files.
        api_server, ca, certificate, key: the control plane and its administrator's key pair.
        proxy_url: the sandbox's proxy, as pods use it.
        binary: finds one of the sandbox's binaries.
        volumes_root: directory of all persistent volumes.
    """

    sandbox_id: str
    state_dir: Path
    api_server: str
    ca: Path
    certificate: Path
    key: Path
    proxy_url: str
    binary: Callable[[str], Path]
    volumes_root: Path


class NodeAgent:
    """Handle on the running nodes.

    Attributes:
        nodes: by name.
    """

    def __init__(self) -> None:
        self.nodes: dict[str, SimulatedNode] = {}

    def find_pod(self, namespace: str, name: str) -> PodWorker | None:
        """The pod of this name that an agent's node runs."""
        for node in self.nodes.values():
            for worker in node.pods.values():
                meta = worker.pod["metadata"]
                if meta["name"] == name and meta["namespace"] == namespace:
                    return worker
        return None


@contextlib.asynccontextmanager
async def running_agent(kube: Kube, config: SandboxConfig, around: Surroundings) -> AsyncIterator[NodeAgent]:
    """Run the configured nodes; at the end every pod's processes are ended."""
    register_all(config.images)
    agent = NodeAgent()
    # directories of pods of an earlier agent: their processes are gone
    shutil.rmtree(around.state_dir / "pods", ignore_errors=True)
    reports = ReportSocket(around.state_dir / "agent.sock")
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as http,
        reports.listening(),
        log_server(agent.find_pod, around.certificate, around.key, around.ca) as port,
    ):
        runtime = _runtime(kube, config, around, http, reports)
        prefix = config.pod_cidr.removesuffix(".0.0/16").replace("10.", "127.", 1)
        for index, spec in enumerate(config.nodes):
            agent.nodes[spec.name] = SimulatedNode(runtime, spec, index, prefix, port)
        tasks = [asyncio.create_task(node.run()) for node in agent.nodes.values()]
        try:
            yield agent
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(*(node.stop_pods() for node in agent.nodes.values()))


def _runtime(
    kube: Kube, config: SandboxConfig, around: Surroundings, http: aiohttp.ClientSession, reports: ReportSocket
) -> Runtime:
    async def services(namespace: str) -> list[Object]:
        own = await kube.get(path("services", namespace), resourceVersion="0")
        api = await kube.get(path("services", "default", "kubernetes"))
        return [*own["items"], api]

    loopback = "127.0.0.1,localhost,127.0.0.0/8"
    proxied = {"HTTP_PROXY": around.proxy_url, "HTTPS_PROXY": around.proxy_url, "NO_PROXY": loopback}
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
            **proxied,
            **{name.lower(): value for name, value in proxied.items()},
        },
        binary=around.binary,
        services=services,
        volumes_root=around.volumes_root,
    )
