"""What the daemon runs, in order: each needs what stands before it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from vllm_sandbox import binaries
from vllm_sandbox.cloud import running_cloud
from vllm_sandbox.config import SandboxConfig
from vllm_sandbox.control_plane import ControlPlane
from vllm_sandbox.hub.server import running_hub
from vllm_sandbox.kube import Kube
from vllm_sandbox.network import Network, running_network
from vllm_sandbox.node.agent import Surroundings, running_agent
from vllm_sandbox.paths import cache_dir
from vllm_sandbox.volumes.run import running_volumes

#: The model hub, as pods know it.
HUB = ("hub.sandbox.internal", 80)


@dataclass(frozen=True)
class Sandbox:
    """One running sandbox, as its services see it.

    Attributes:
        id: marker in the environment of every process.
        directory: where its files are.
    """

    name: str
    id: str
    directory: Path
    config: SandboxConfig
    plane: ControlPlane
    kube: Kube


@contextlib.asynccontextmanager
async def running_services(sandbox: Sandbox) -> AsyncIterator[None]:
    """Run network, hub, volumes, nodes and the cloud below them; they end in reverse order."""
    kube, config, plane = sandbox.kube, sandbox.config, sandbox.plane
    server = urlsplit(plane.server)
    api_server = (server.hostname or "", server.port or 443)
    async with contextlib.AsyncExitStack() as stack:
        hub = await stack.enter_async_context(running_hub(config.proxy_host, 0, cache_dir() / "hub"))
        network = await stack.enter_async_context(
            running_network(kube, config, plane.egress_socket, api_server, {HUB: (hub.host, hub.port)})
        )
        volumes = await stack.enter_async_context(running_volumes(kube, config, sandbox.directory))
        around = _surroundings(sandbox, network, volumes.root)
        agent = await stack.enter_async_context(running_agent(kube, config, around))
        await stack.enter_async_context(running_cloud(kube, agent.nodes))
        yield


def _surroundings(sandbox: Sandbox, network: Network, volumes_root: Path) -> Surroundings:
    plane = sandbox.plane
    return Surroundings(
        sandbox_id=sandbox.id,
        state_dir=sandbox.directory,
        api_server=plane.server,
        ca=plane.pki / "ca.crt",
        certificate=plane.pki / "admin.crt",
        key=plane.pki / "admin.key",
        network=network,
        binary=_binary,
        volumes_root=volumes_root,
    )


def _binary(name: str) -> Path:
    """A program of the sandbox's table, fetched when a pod first needs it."""
    return binaries.ensure(name)[name]
