"""The control plane: follows the objects, keeps the routing table, and writes status.

Status comes after the table: ``observedGeneration`` of a route says that requests go by it from then on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from vllm_sandbox.gateway import CONTROLLER, GROUP
from vllm_sandbox.gateway.attach import Attached, World, attach
from vllm_sandbox.gateway.backends import Grants
from vllm_sandbox.gateway.conditions import condition, merged
from vllm_sandbox.gateway.endpoints import Endpoints
from vllm_sandbox.gateway.shares import Shares
from vllm_sandbox.gateway.table import Backend, Entry, Rule, Table
from vllm_sandbox.kube import ApiError, Kube, path
from vllm_sandbox.volumes.informer import Informer

log = logging.getLogger(__name__)

Object = dict[str, Any]
_API = f"{GROUP}/v1"
#: What of the specification is done here, by the names of pkg/features.
_FEATURES = (
    "Gateway",
    "HTTPRoute",
    "HTTPRouteBackendTimeout",
    "HTTPRouteMethodMatching",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestTimeout",
    "ReferenceGrant",
)


class Controller:
    """One gateway's control plane.

    Args:
        service: the gateway's own Service by ``namespace/name``; its cluster IP is the Gateways' address.
        ports: of listeners that are served.

    Attributes:
        table: by which requests are answered now.
        ready: set once everything was listed and the first table is there.
    """

    def __init__(self, kube: Kube, service: str, ports: Iterable[int]) -> None:
        self._kube, self._service, self._ports = kube, service, frozenset(ports)
        self.endpoints = Endpoints()
        self.table = Table()
        self.ready = asyncio.Event()
        self._classes = Informer(kube, f"{_API}/gatewayclasses", "GatewayClass")
        self._gateways = Informer(kube, f"{_API}/gateways", "Gateway")
        self._routes = Informer(kube, f"{_API}/httproutes", "HTTPRoute")
        self._grants = Informer(kube, f"{_API}/referencegrants", "ReferenceGrant")
        self._namespaces = Informer(kube, "namespaces", "Namespace")
        self._turns: dict[tuple[object, ...], Shares[Backend]] = {}
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Follow the cluster until cancelled."""
        informers = (self._classes, self._gateways, self._routes, self._grants, self._namespaces)
        synced = [asyncio.Event(), asyncio.Event()]
        async with asyncio.TaskGroup() as group:
            for informer in informers:
                informer.on_change(lambda _key: self._changed.set())
                group.create_task(informer.run())
            services, slices = path("services"), path("discovery.k8s.io/v1/endpointslices")
            group.create_task(self._kube.follow(services, self._service_event, synced[0]))
            group.create_task(self._kube.follow(slices, self.endpoints.slice_event, synced[1]))
            for event in (*synced, *(informer.synced for informer in informers)):
                await event.wait()
            while True:
                self._changed.clear()
                await self._bring_up_to_date()
                self.ready.set()
                await self._changed.wait()

    def _service_event(self, kind: str, item: Object) -> None:
        self.endpoints.service_event(kind, item)
        self._changed.set()

    async def _bring_up_to_date(self) -> None:
        own = self.endpoints.service(self._service)
        attached = attach(
            World(
                classes=list(self._classes),
                gateways=list(self._gateways),
                routes=list(self._routes),
                grants=Grants(list(self._grants)),
                namespaces={each["metadata"]["name"]: each["metadata"].get("labels", {}) for each in self._namespaces},
                endpoints=self.endpoints,
                ports=self._ports,
                address=own["spec"].get("clusterIP") if own else None,
            )
        )
        self.table = Table(self._with_turns(attached.entries))
        await self._write(attached)

    def _with_turns(self, entries: Iterable[Entry]) -> list[Entry]:
        """The same entries; a rule that didn't change goes on where it was in its turns."""
        before, self._turns = self._turns, {}
        found = []
        for entry in entries:
            rule = entry.rule
            key = (rule.route, entry.age, rule.backends)
            if key not in self._turns:
                self._turns[key] = before.get(key) or Shares(rule.backends)
            kept = Rule(rule.route, rule.backends, rule.request_timeout, rule.backend_timeout, self._turns[key])
            found.append(Entry(entry.port, entry.hostname, entry.match, kept, entry.age))
        return found

    # -- status --------------------------------------------------------------------------------

    async def _write(self, attached: Attached) -> None:
        for item in self._classes:
            if item["spec"]["controllerName"] == CONTROLLER:
                accepted = condition("Accepted", True, "Accepted", "SIMULATED gateway of the sandbox")
                features = [{"name": name} for name in _FEATURES]
                status = {**_updated(item, {"conditions": [accepted]}), "supportedFeatures": features}
                await self._put("gatewayclasses", item, status)
        for item in self._gateways:
            if wanted := attached.gateways.get(item["metadata"]["uid"]):
                await self._put("gateways", item, _updated(item, wanted))
        for item in self._routes:
            if parents := _parents(item, attached.parents.get(item["metadata"]["uid"], [])):
                await self._put("httproutes", item, parents)

    async def _put(self, plural: str, item: Object, status: Object) -> None:
        meta, before = item["metadata"], item.get("status") or {}
        if all(before.get(name) == value for name, value in status.items()):
            return
        body = {"metadata": {"resourceVersion": meta["resourceVersion"]}, "status": status}
        url = path(f"{_API}/{plural}", meta.get("namespace"), meta["name"], "status")
        try:
            await self._kube.patch(url, body)
        except ApiError as error:  # changed or gone meanwhile: its event is on the way
            if error.code not in (404, 409):
                log.warning("status of %s %s: %s", plural, meta["name"], error)


def _updated(item: Object, wanted: Object) -> Object:
    """A wanted status with its conditions merged into those that are there."""
    before, generation = item.get("status") or {}, item["metadata"]["generation"]
    status = {**wanted, "conditions": merged(before.get("conditions", ()), wanted["conditions"], generation)}
    if "listeners" in wanted:
        there = {each["name"]: each.get("conditions", ()) for each in before.get("listeners", ())}
        status["listeners"] = [
            {**each, "conditions": merged(there.get(each["name"], ()), each["conditions"], generation)}
            for each in wanted["listeners"]
        ]
    return status


def _parents(item: Object, wanted: list[tuple[Object, list[Object]]]) -> Object | None:
    """A route's status: other controllers' entries stay as they are. None if it is none of ours, and never was."""
    before = (item.get("status") or {}).get("parents", [])
    found = [each for each in before if each["controllerName"] != CONTROLLER]
    if not wanted and len(found) == len(before):
        return None
    for parent, conditions in wanted:
        old = [each for each in before if each["controllerName"] == CONTROLLER and each["parentRef"] == parent]
        there = old[0]["conditions"] if old else ()
        kept = merged(there, conditions, item["metadata"]["generation"])
        found.append({"parentRef": parent, "controllerName": CONTROLLER, "conditions": kept})
    return {"parents": found}
