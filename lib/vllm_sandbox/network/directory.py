"""Cluster DNS and Service balancing: from a name and a port to one endpoint.

Follows Services and EndpointSlices. A Service is balanced per connection over its ready endpoints,
at random, as kube-proxy's iptables mode does it; when none is ready, over those that still serve
while they terminate. Sources: Kubernetes documentation, "DNS for Services and Pods", "EndpointSlices".
"""

from __future__ import annotations

import asyncio
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vllm_sandbox.kube import Kube, path
from vllm_sandbox.network.address import AddressMap, NotRoutable, is_ip

Object = dict[str, Any]
Backend = tuple[str, int]
Key = tuple[str, str]  # namespace, name

EXTERNAL_NAMES = 8  # how many Services of that type may follow on each other
_POD_NAME = re.compile(r"(\d+-\d+-\d+-\d+)\.[a-z0-9-]+\.pod(?:\.cluster\.local)?")


class NameNotFound(NotRoutable):
    """No Service, pod or known outside name is called so."""


class PortNotInService(NotRoutable):
    """The Service exists, but not on this port."""


class NoReadyEndpoints(NotRoutable):
    """The Service has no pod that could answer."""


@dataclass(frozen=True)
class Endpoint:
    """One address behind a Service port."""

    ip: str
    port: int
    hostname: str | None
    ready: bool
    serving: bool


class ClusterDirectory:
    """What a host name and a port lead to, from inside the cluster.

    Args:
        api_server: real address of the API server, behind ``kubernetes.default``.
        external: names outside the cluster and what stands for them.
        default_namespace: where a name of one label is looked up.
    """

    def __init__(
        self,
        addresses: AddressMap,
        api_server: Backend,
        external: Mapping[Backend, Backend],
        default_namespace: str = "default",
        rng: random.Random | None = None,
    ) -> None:
        self._addresses = addresses
        self._api_server = api_server
        self._external = dict(external)
        self._default_namespace = default_namespace
        self._rng = rng or random.Random()
        self._services: dict[Key, Object] = {}
        self._by_cluster_ip: dict[str, Key] = {}
        self._slices: dict[Key, dict[str, Object]] = defaultdict(dict)
        self.synced = [asyncio.Event(), asyncio.Event()]

    async def follow(self, kube: Kube) -> None:
        """Keep up with the cluster until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(kube.follow(path("services"), self.service_event, self.synced[0]))
            slices = path("discovery.k8s.io/v1/endpointslices")
            group.create_task(kube.follow(slices, self.slice_event, self.synced[1]))

    def service_event(self, kind: str, service: Object) -> None:
        """A Service came, changed or went."""
        meta = service["metadata"]
        key = (meta["namespace"], meta["name"])
        if before := self._services.pop(key, None):
            self._by_cluster_ip.pop(before["spec"].get("clusterIP"), None)
        if kind != "DELETED":
            self._services[key] = service
            ip = service["spec"].get("clusterIP")
            if ip and ip != "None":
                self._by_cluster_ip[ip] = key

    def slice_event(self, kind: str, item: Object) -> None:
        """An EndpointSlice came, changed or went."""
        meta = item["metadata"]
        service = meta.get("labels", {}).get("kubernetes.io/service-name")
        if not service:
            return
        known = self._slices[meta["namespace"], service]
        if kind == "DELETED":
            known.pop(meta["name"], None)
        else:
            known[meta["name"]] = item

    # -- resolving ---------------------------------------------------------------------------

    def resolve(self, host: str, port: int, led_on: int = 0) -> Backend:
        """Address on this machine for one new connection to ``host:port``.

        Args:
            led_on: Services of type ExternalName that led here.

        Raises:
            NotRoutable: a sentence that names what is missing.
        """
        host = host.rstrip(".").lower()
        if backend := self._external.get((host, port)):
            return backend
        if is_ip(host):
            if key := self._by_cluster_ip.get(host):
                return self._through(key, port)
            if self._addresses.to_loopback(host) != host and self._addresses.is_service(host):
                raise NameNotFound(f"no Service has the cluster IP {host}")
            return self._addresses.to_loopback(host), port
        if host == "localhost":
            return "127.0.0.1", port
        if match := _POD_NAME.fullmatch(host):
            return self._addresses.to_loopback(match.group(1).replace("-", ".")), port
        key, hostname = self._service_of(host, port)
        return self._through(key, port, hostname, led_on)

    def _service_of(self, host: str, port: int) -> tuple[Key, str | None]:
        """Service that a name means, and the pod's hostname in front of it, if there is one."""
        labels = host.removesuffix(".cluster.local").removesuffix(".svc").split(".")
        if len(labels) == 1:
            labels.append(self._default_namespace)
        *hostname, name, namespace = labels
        if (namespace, name) in self._services and len(hostname) <= 1:
            return (namespace, name), hostname[0] if hostname else None
        outside = sorted(f"{h}:{p}" for h, p in self._external)
        known = sorted(name for ns, name in self._services if ns == namespace)
        raise NameNotFound(
            f"{host}:{port} is no Service of this cluster"
            + (f"; namespace {namespace} has {', '.join(known)}" if known else f" (namespace {namespace} has none)")
            + f"; outside names known to the sandbox: {', '.join(outside) or 'none'}"
        )

    def _through(self, key: Key, port: int, hostname: str | None = None, led_on: int = 0) -> Backend:
        if key == ("default", "kubernetes"):
            return self._api_server
        service = self._services[key]
        spec = service["spec"]
        if spec.get("type") == "ExternalName":
            if led_on == EXTERNAL_NAMES:
                raise NameNotFound(f"Service {key[0]}/{key[1]} is in a circle of external names")
            return self.resolve(spec["externalName"], port, led_on + 1)
        headless = spec.get("clusterIP") in (None, "", "None")
        endpoints = [e for e in self._endpoints(service, port, headless=headless) if hostname in (None, e.hostname)]
        usable = [e for e in endpoints if e.ready] or [e for e in endpoints if e.serving]
        if not usable:
            state = f"{len(endpoints)} endpoints, none of them ready" if endpoints else "no endpoints"
            raise NoReadyEndpoints(f"Service {key[0]}/{key[1]} port {port} has {state}")
        chosen = self._rng.choice(usable)
        return self._addresses.to_loopback(chosen.ip), chosen.port

    def _endpoints(self, service: Object, port: int, *, headless: bool) -> list[Endpoint]:
        meta, ports = service["metadata"], service["spec"].get("ports", [])
        asked = next((p for p in ports if p["port"] == port and p.get("protocol", "TCP") == "TCP"), None)
        slices = self._slices[meta["namespace"], meta["name"]].values()
        if asked is None and not headless:
            listed = ", ".join(str(p["port"]) for p in ports)
            raise PortNotInService(f"Service {meta['namespace']}/{meta['name']} has no port {port}, only {listed}")
        found = []
        for item in slices:
            if headless:
                number: int | None = port  # DNS gives the pods' own addresses: the port is the pod's
            else:
                assert asked
                named = (p["port"] for p in item.get("ports") or [] if (p.get("name") or "") == asked.get("name", ""))
                number = next(named, None)
            if number is not None:
                found += [Endpoint(*fields) for fields in _addresses(item, number)]
        return found

    def service_ports(self) -> Iterator[Backend]:
        """Every cluster IP and TCP port there is."""
        for ip, key in self._by_cluster_ip.items():
            for port in self._services[key]["spec"].get("ports", []):
                if port.get("protocol", "TCP") == "TCP":
                    yield ip, port["port"]


def _addresses(item: Object, port: int) -> Iterator[tuple[str, int, str | None, bool, bool]]:
    for endpoint in item.get("endpoints") or []:
        state = endpoint.get("conditions", {})
        ready = state.get("ready") is not False
        serving = state.get("serving") if state.get("serving") is not None else ready
        for ip in endpoint["addresses"]:
            yield ip, port, endpoint.get("hostname"), ready, bool(serving)
