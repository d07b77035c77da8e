"""Cluster addresses and the loopback addresses that serve them."""

import pytest

from vllm_sandbox.config import SandboxConfig
from vllm_sandbox.network.address import AddressMap, NotRoutable, is_ip

FIRST = AddressMap(SandboxConfig())
OTHER = AddressMap(SandboxConfig(slot=3))


def test_pods_and_services_are_on_the_loopback():
    assert FIRST.to_loopback("10.244.2.7") == "127.244.2.7"
    assert FIRST.to_loopback("10.96.0.1") == "127.96.0.1"
    assert OTHER.to_loopback("10.241.2.7") == "127.241.2.7"
    assert FIRST.to_loopback("127.0.0.1") == "127.0.0.1"
    assert FIRST.to_loopback("::1") == "::1"


def test_services_are_told_from_pods():
    assert FIRST.is_service("10.96.12.1")
    assert not FIRST.is_service("10.244.0.1")


@pytest.mark.parametrize("ip", ["10.241.2.7", "10.0.0.1", "192.168.1.1", "169.254.169.254", "2001:db8::1", "0.0.0.0"])
def test_nothing_else_is_reached(ip):
    with pytest.raises(NotRoutable, match=r"outside the sandbox: only its pods \(10\.244\.0\.0/16\)"):
        FIRST.to_loopback(ip)


def test_sandboxes_side_by_side_share_no_address():
    configs = [SandboxConfig(slot=slot) for slot in range(32)]
    ranges = [AddressMap(config) for config in configs]
    every = [network for each in ranges for network in (each.pods, each.services)]
    assert len(set(every)) == 64
    assert not any(a.overlaps(b) for i, a in enumerate(every) for b in every[i + 1 :])
    assert len({config.proxy_host for config in configs}) == 32


def test_names_are_no_addresses():
    assert is_ip("10.1.2.3")
    assert is_ip("::1")
    assert not is_ip("web.default.svc")
    assert not is_ip("10.1.2")
