"""The cluster's network on the loopback: addresses, DNS, Service balancing, one proxy."""

from vllm_sandbox.network.run import Network, running_network

__all__ = ["Network", "running_network"]
