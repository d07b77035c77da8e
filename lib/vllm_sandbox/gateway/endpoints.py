"""The ready addresses behind each Service, as EndpointSlices tell them, and which of them gets the next request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class Endpoint:
    """One address that is ready."""

    ip: str
    port: int


class Endpoints:
    """Follows Services and EndpointSlices by their events.

    Attributes:
        in_flight: requests under way at each endpoint.
    """

    def __init__(self) -> None:
        self._services: dict[str, Object] = {}
        self._slices: dict[str, dict[str, Object]] = {}
        self.in_flight: Counter[Endpoint] = Counter()

    def service(self, key: str) -> Object | None:
        """A Service by ``namespace/name``."""
        return self._services.get(key)

    def service_event(self, kind: str, item: Object) -> None:
        """A Service came, changed or went."""
        _keep(self._services, kind, item)

    def slice_event(self, kind: str, item: Object) -> None:
        """An EndpointSlice came, changed or went."""
        meta = item["metadata"]
        service = meta.get("labels", {}).get("kubernetes.io/service-name")
        if service:
            _keep(self._slices.setdefault(f"{meta['namespace']}/{service}", {}), kind, item)

    def ready(self, service: str, port: int) -> list[Endpoint]:
        """Where the Service's port is answered at present."""
        found = self._services.get(service)
        ports = found["spec"].get("ports", []) if found else []
        name = next((each.get("name") or "" for each in ports if each["port"] == port), None)
        if name is None:
            return []
        return [each for item in self._slices.get(service, {}).values() for each in _ready(item, name)]

    def choose(self, service: str, port: int) -> Endpoint | None:
        """The ready endpoint with the fewest requests under way; None if none is ready."""
        return min(self.ready(service, port), key=self.in_flight.__getitem__, default=None)


def _ready(item: Object, port_name: str) -> Iterator[Endpoint]:
    ports = [int(each["port"]) for each in item.get("ports") or () if (each.get("name") or "") == port_name]
    for endpoint in item.get("endpoints") or ():
        if endpoint.get("conditions", {}).get("ready") is not False:
            for ip in endpoint["addresses"]:
                yield from (Endpoint(ip, port) for port in ports)


def _keep(items: dict[str, Object], kind: str, item: Object) -> None:
    key = f"{item['metadata']['namespace']}/{item['metadata']['name']}"
    if kind != "DELETED":
        items[key] = item
    elif items.get(key, item)["metadata"]["uid"] == item["metadata"]["uid"]:
        items.pop(key, None)  # a successor of the same name stays
