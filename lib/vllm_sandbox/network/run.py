"""Starts the sandbox's network: the directory, the policies, and the proxy's listeners."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from vllm_sandbox.config import PROXY_PORT, SandboxConfig
from vllm_sandbox.kube import Kube
from vllm_sandbox.network.address import AddressMap, NoAnswer, is_ip
from vllm_sandbox.network.directory import Backend, ClusterDirectory
from vllm_sandbox.network.policy import DNS, Party, Policies
from vllm_sandbox.network.proxy import Proxy

log = logging.getLogger(__name__)

#: Address by which policies know what stands outside the cluster (RFC 2544: nobody's on the Internet).
OUTSIDE = "198.18.0.1"


class Network:
    """The running network.

    A pod's proxy listens on the pod's own address: so the proxy knows who connects, whatever the client is.

    Attributes:
        proxy_url: what pods in the host's network use as HTTP_PROXY; for others see :meth:`join`.
    """

    def __init__(self, directory: ClusterDirectory, policies: Policies, proxy_url: str) -> None:
        self.directory = directory
        self.policies = policies
        self.proxy = Proxy(self.resolve)
        self.proxy_url = proxy_url
        self._listeners: dict[str, asyncio.Server] = {}

    async def join(self, address: str, pod: Callable[[], dict[str, Any]]) -> str:
        """Connect a pod with this loopback address; returns its HTTP_PROXY."""
        self.policies.join(address, pod)
        loop = asyncio.get_running_loop()
        self._listeners[address] = await loop.create_server(self.proxy.protocol, address, PROXY_PORT, backlog=1024)
        return f"http://{address}:{PROXY_PORT}"

    def leave(self, address: str) -> None:
        """Disconnect the pod that had this address."""
        self.policies.leave(address)
        if listener := self._listeners.pop(address, None):
            listener.close()

    def resolve(self, host: str, port: int, source: str = "") -> Backend:
        """Where a connection goes that came in at the address ``source``.

        Raises:
            NoAnswer: a NetworkPolicy is against it; as everywhere, the client isn't told which.
            NotRoutable: there is no such place.
        """
        pod = self.policies.party(source)
        if pod and not is_ip(host) and host != "localhost" and self._no_names(pod):
            raise NoAnswer(f"{host} could not be resolved: no name server answered")
        backend = self.directory.resolve(host, port)
        other = self.policies.party(backend[0])
        refusal = self.policies.refusal(pod, other or Party(OUTSIDE), backend[1] if other else port)
        if refusal:
            log.info("NetworkPolicy: %s to %s port %d: %s", pod, other or host, port, refusal)
            self.proxy.counts["against policy"] += 1
            raise NoAnswer(f"{host}:{port} gave no answer")
        return backend

    def _no_names(self, pod: Party) -> bool:
        refusals = [self.policies.refusal(pod, DNS, 53, protocol) for protocol in ("UDP", "TCP")]
        if all(refusals):
            log.info("NetworkPolicy: %s to DNS: %s", pod, refusals[0])
        return all(refusals)

    def close(self) -> None:
        for address in list(self._listeners):
            self.leave(address)
        self.proxy.close()


@contextlib.asynccontextmanager
async def running_network(
    kube: Kube, config: SandboxConfig, egress_socket: Path, api_server: Backend, external: Mapping[Backend, Backend]
) -> AsyncIterator[Network]:
    """Serve the API server's egress on a Unix socket, and a proxy for pods on the sandbox's own address and theirs.

    Args:
        external: host names outside the cluster, and the addresses that stand for them.
    """
    directory, policies = ClusterDirectory(AddressMap(config), api_server, external), Policies()
    network = Network(directory, policies, f"http://{config.proxy_host}:{PROXY_PORT}")
    loop = asyncio.get_running_loop()
    egress_socket.unlink(missing_ok=True)
    unix = await loop.create_unix_server(network.proxy.protocol, str(egress_socket))
    egress_socket.chmod(0o600)
    tcp = await loop.create_server(network.proxy.protocol, config.proxy_host, PROXY_PORT, backlog=1024)
    synced = [asyncio.Event(), asyncio.Event()]
    following = [
        asyncio.create_task(directory.follow(kube)),
        asyncio.create_task(policies.follow_policies(kube, synced[0])),
        asyncio.create_task(policies.follow_namespaces(kube, synced[1])),
    ]
    try:
        for each in (*directory.synced, *synced):
            await each.wait()
        yield network
    finally:
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
        unix.close()
        tcp.close()
        network.close()
