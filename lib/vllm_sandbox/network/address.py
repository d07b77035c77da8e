"""Cluster addresses and the loopback addresses that serve them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, ip_address

from vllm_sandbox.config import SandboxConfig


class NotRoutable(Exception):
    """The sandbox doesn't carry traffic to this address; the sentence says why."""


class NoAnswer(NotRoutable):
    """The address is in a range that no router carries: packets are lost, and a client waits until its own limit."""


#: RFC 5737, for documentation: on the Internet, too, nobody ever answers from there.
_DOCUMENTATION = tuple(map(IPv4Network, ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")))


class AddressMap:
    """Maps the sandbox's own pod and Service addresses to the loopback: ``10.x.y.z`` to ``127.x.y.z``."""

    def __init__(self, config: SandboxConfig) -> None:
        self.pods = IPv4Network(config.pod_cidr)
        self.services = IPv4Network(config.service_cidr)

    def is_service(self, ip: str) -> bool:
        return IPv4Address(ip) in self.services

    def to_loopback(self, ip: str) -> str:
        """The address to connect to for ``ip``.

        Raises:
            NoAnswer: it is an address for documentation, as behind a firewall that drops packets.
            NotRoutable: it is neither one of this sandbox's pods nor on the loopback.
        """
        address = ip_address(ip)
        if address.is_loopback:
            return ip
        if address in self.pods or address in self.services:
            return f"127.{ip.partition('.')[2]}"
        if any(address in network for network in _DOCUMENTATION):
            raise NoAnswer(f"{ip} gave no answer")
        raise NotRoutable(
            f"{ip} is outside the sandbox: only its pods ({self.pods}), its Services ({self.services}) "
            "and 127.0.0.0/8 can be reached"
        )


def is_ip(host: str) -> bool:
    """Whether ``host`` is an IP address rather than a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
