"""Starts the sandbox's network: the directory and the proxy's two listeners."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vllm_sandbox.config import PROXY_PORT, SandboxConfig
from vllm_sandbox.kube import Kube
from vllm_sandbox.network.address import AddressMap
from vllm_sandbox.network.directory import Backend, ClusterDirectory
from vllm_sandbox.network.proxy import Proxy


@dataclass(frozen=True)
class Network:
    """The running network.

    Attributes:
        proxy_url: what pods use as HTTP_PROXY.
    """

    directory: ClusterDirectory
    proxy: Proxy
    proxy_url: str


@contextlib.asynccontextmanager
async def running_network(
    kube: Kube, config: SandboxConfig, egress_socket: Path, api_server: Backend, external: Mapping[Backend, Backend]
) -> AsyncIterator[Network]:
    """Serve the API server's egress on a Unix socket and the pods' proxy on the sandbox's own address.

    Args:
        external: host names outside the cluster, and the addresses that stand for them.
    """
    directory = ClusterDirectory(AddressMap(config), api_server, external)
    proxy = Proxy(directory.resolve)
    loop = asyncio.get_running_loop()
    egress_socket.unlink(missing_ok=True)
    unix = await loop.create_unix_server(proxy.protocol, str(egress_socket))
    egress_socket.chmod(0o600)
    tcp = await loop.create_server(proxy.protocol, config.proxy_host, PROXY_PORT, backlog=1024)
    following = asyncio.create_task(directory.follow(kube))
    try:
        for synced in directory.synced:
            await synced.wait()
        yield Network(directory, proxy, f"http://{config.proxy_host}:{PROXY_PORT}")
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        unix.close()
        tcp.close()
        proxy.close()
