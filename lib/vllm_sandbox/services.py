"""What the daemon runs, in order: each needs what stands before it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from vllm_sandbox import binaries
from vllm_sandbox.config import SandboxConfig
from vllm_sandbox.control_plane import ControlPlane
from vllm_sandbox.kube import Kube
from vllm_sandbox.node.agent import Surroundings, running_agent
from vllm_sandbox.volumes.run import running_volumes


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
    """Run network, hub, volumes and nodes; they end in reverse order."""
    async with contextlib.AsyncExitStack() as stack:
        volumes = await stack.enter_async_context(running_volumes(sandbox.kube, sandbox.config, sandbox.directory))
        around = _surroundings(sandbox, volumes.root)
        await stack.enter_async_context(running_agent(sandbox.kube, sandbox.config, around))
        yield


def _surroundings(sandbox: Sandbox, volumes_root: Path) -> Surroundings:
    plane = sandbox.plane
    return Surroundings(
        sandbox_id=sandbox.id,
        state_dir=sandbox.directory,
        api_server=plane.server,
        ca=plane.pki / "ca.crt",
        certificate=plane.pki / "admin.crt",
        key=plane.pki / "admin.key",
        proxy_url=f"http://{sandbox.config.proxy_host}:3128",
        binary=_binary,
        volumes_root=volumes_root,
    )


def _binary(name: str) -> Path:
    """A program of the sandbox's table, fetched when a pod first needs it."""
    return binaries.ensure(name)[name]
