"""A real control plane with three nodes that exist on paper only: nobody runs their pods."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from vllm_sandbox import lifecycle
from vllm_sandbox.binaries.ensure import ensure
from vllm_sandbox.binaries.table import CONTROL_PLANE
from vllm_sandbox.config import SandboxConfig
from vllm_sandbox.control_plane import ControlPlane
from vllm_sandbox.kube import Kube, path
from vllm_sandbox.volumes.run import running_volumes

from .lab import Lab, paper_node

NODES = {"node-a": "sandbox-a", "node-b": "sandbox-b", "node-b2": "sandbox-b"}


@pytest.fixture(scope="session")
def binaries() -> dict[str, Path]:
    """The control plane's programs."""
    return ensure(*CONTROL_PLANE)


@pytest.fixture(scope="session")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory, binaries: dict[str, Path]) -> Iterator[Path]:
    """A control plane for all tests here."""
    work = tmp_path_factory.mktemp("cluster")
    plane = ControlPlane("volumes-" + secrets.token_hex(3), work)
    kwokctl = [str(binaries["kwokctl"]), "--config", str(work / "kwokctl.yaml"), "--name", plane.name]
    try:
        with lifecycle.alone_on_this_machine():  # ports are chosen first and used later
            plane.start(SandboxConfig(), binaries, {})
        yield plane.kubeconfig
    finally:
        env = {**os.environ, "KWOK_WORKDIR": str(work / "kwok")}
        subprocess.run([*kwokctl, "delete", "cluster"], env=env, check=True, capture_output=True)


@pytest.fixture(scope="session")
def volumes_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """State of the volumes of the cluster, kept from test to test."""
    return tmp_path_factory.mktemp("state")


@pytest_asyncio.fixture
async def kube(kubeconfig: Path) -> AsyncIterator[Kube]:
    async with Kube.from_kubeconfig(kubeconfig) as connection:
        for name, zone in NODES.items():
            await paper_node(connection, name, zone)
        yield connection


@pytest_asyncio.fixture
async def lab(kube: Kube, kubeconfig: Path, binaries: dict[str, Path], volumes_state: Path) -> AsyncIterator[Lab]:
    """The volume controllers, and a fresh namespace."""
    namespace = "volumes-" + secrets.token_hex(3)
    async with running_volumes(kube, SandboxConfig(time_scale=100), volumes_state) as volumes:
        made = Lab(kube, [str(binaries["kubectl"]), "--kubeconfig", str(kubeconfig)], namespace, volumes)
        await made.open_namespace()
        yield made
        await kube.delete(path("namespaces", name=namespace))
