"""Who listens and what is attached: from Gateways and HTTPRoutes to table entries and status, without any side effect.

Reasons and conditions are those of the Gateway API's Go types (apis/v1, GatewayConditionReason and the like).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vllm_sandbox.gateway import CONTROLLER, GROUP
from vllm_sandbox.gateway.backends import Grants, backends_of
from vllm_sandbox.gateway.conditions import condition
from vllm_sandbox.gateway.endpoints import Endpoints
from vllm_sandbox.gateway.matching import Match, Unsupported, hostnames_meet, matches_of, seconds
from vllm_sandbox.gateway.table import Entry, Rule
from vllm_sandbox.network.policy import matches as selector_matches

Object = dict[str, Any]


@dataclass(frozen=True)
class World:
    """Everything that is looked at.

    Attributes:
        namespaces: labels by name.
        ports: that are served.
        address: of the gateway's Service, once it has one.
    """

    classes: Iterable[Object]
    gateways: Iterable[Object]
    routes: Iterable[Object]
    grants: Grants
    namespaces: Mapping[str, Mapping[str, str]]
    endpoints: Endpoints
    ports: frozenset[int]
    address: str | None


@dataclass
class Listener:
    """One listener of a Gateway of ours. ``problem``: condition, reason and message that keep it from working."""

    gateway: Object
    spec: Object
    problem: tuple[str, str, str] | None = None
    attached: int = 0

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    @property
    def hostname(self) -> str:
        return str(self.spec.get("hostname", "")).lower()

    def takes(self, namespace: str, labels: Mapping[str, str]) -> bool:
        """Whether routes of a namespace may attach (allowedRoutes)."""
        allowed = self.spec.get("allowedRoutes", {})
        wanted = allowed.get("namespaces", {})
        if not any(kind["kind"] == "HTTPRoute" for kind in allowed.get("kinds") or [{"kind": "HTTPRoute"}]):
            return False
        source = wanted.get("from", "Same")
        if source == "Selector":
            return selector_matches(wanted.get("selector") or {}, labels)
        return bool(source == "All" or (source == "Same" and namespace == self.gateway["metadata"]["namespace"]))


@dataclass
class Attached:
    """What came out.

    Attributes:
        entries: of the routing table.
        gateways: conditions, addresses and listeners of each Gateway's status, by uid.
        parents: conditions for each parentRef of each route, by uid; in the order of its parentRefs.
    """

    entries: list[Entry] = field(default_factory=list)
    gateways: dict[str, Object] = field(default_factory=dict)
    parents: dict[str, list[tuple[Object, list[Object]]]] = field(default_factory=dict)


def attach(world: World) -> Attached:
    """Work everything out anew."""
    ours = {each["metadata"]["name"] for each in world.classes if each["spec"]["controllerName"] == CONTROLLER}
    gateways = sorted((each for each in world.gateways if each["spec"]["gatewayClassName"] in ours), key=age)
    listeners = _listeners(gateways, world.ports)
    found = Attached()
    for route in sorted(world.routes, key=age):
        _route(world, route, listeners, found)
    for gateway in gateways:
        mine = [each for each in listeners if each.gateway is gateway]
        found.gateways[gateway["metadata"]["uid"]] = _gateway_status(gateway, mine, world.address)
    return found


def age(item: Object) -> tuple[str, str]:
    """Older first, then by name."""
    meta = item["metadata"]
    return meta["creationTimestamp"], f"{meta['namespace']}/{meta['name']}"


def _listeners(gateways: Iterable[Object], ports: frozenset[int]) -> list[Listener]:
    """All listeners. Gateways share an address: of two with the same port and hostname the older one's works."""
    found: list[Listener] = []
    for gateway in gateways:
        for spec in gateway["spec"]["listeners"]:
            each = Listener(gateway, spec)
            taken = any(
                not other.problem and (other.spec["port"], other.hostname) == (spec["port"], each.hostname)
                for other in found
            )
            if spec["protocol"] != "HTTP":
                each.problem = ("Accepted", "UnsupportedProtocol", f"{spec['protocol']} isn't served here, only HTTP")
            elif spec["port"] not in ports:
                served = ", ".join(map(str, sorted(ports)))
                each.problem = ("Accepted", "PortUnavailable", f"port {spec['port']} isn't served here, only {served}")
            elif taken:
                each.problem = ("Conflicted", "HostnameConflict", "another listener has this port and hostname")
            found.append(each)
    return found


def _route(world: World, route: Object, listeners: list[Listener], found: Attached) -> None:
    meta = route["metadata"]
    told = []
    for parent in route["spec"].get("parentRefs", ()):
        if (parent.get("group", GROUP), parent.get("kind", "Gateway")) != (GROUP, "Gateway"):
            continue
        key = (parent.get("namespace", meta["namespace"]), parent["name"])
        there = [each for each in listeners if _key(each.gateway) == key]
        if there:
            told.append((parent, _attach(world, route, parent, there, found)))
    if told:
        found.parents[meta["uid"]] = told


def _attach(world: World, route: Object, parent: Object, listeners: list[Listener], found: Attached) -> list[Object]:
    """Attach a route to the listeners that a parentRef means; returns its conditions."""
    namespace = route["metadata"]["namespace"]
    rules, resolved = _rules(world, route)
    meant = [
        each
        for each in listeners
        if parent.get("sectionName", each.name) == each.name
        and parent.get("port", each.spec["port"]) == each.spec["port"]
    ]
    allowing = [each for each in meant if each.takes(namespace, world.namespaces.get(namespace, {}))]
    meeting = [(each, names) for each in allowing if (names := _hostnames(each, route))]
    if isinstance(rules, Unsupported):
        accepted = condition("Accepted", False, "UnsupportedValue", f"{rules}: this gateway doesn't do that")
    elif not meant:
        accepted = condition("Accepted", False, "NoMatchingParent", "the Gateway has no such listener")
    elif not allowing:
        accepted = condition("Accepted", False, "NotAllowedByListeners", "allowedRoutes doesn't let this route in")
    elif not meeting:
        accepted = condition("Accepted", False, "NoMatchingListenerHostname", "no hostname in common")
    else:
        accepted = condition("Accepted", True, "Accepted", "attached")
        for listener, names in meeting:
            listener.attached += 1
            if not listener.problem:
                found.entries += _entries(route, listener, names, rules)
    return [accepted, resolved]


def _hostnames(listener: Listener, route: Object) -> list[str]:
    names = [name.lower() for name in route["spec"].get("hostnames", ())]
    if not names:
        return [listener.hostname]
    met = (hostnames_meet(listener.hostname, name) for name in names)
    return [name for name in met if name is not None]


Rules = list[tuple[list[Match], Rule]]


def _rules(world: World, route: Object) -> tuple[Rules | Unsupported, Object]:
    """Rules with their matches, or what can't be done; and the condition ResolvedRefs."""
    problems: list[tuple[str, str]] = []
    found: Rules = []
    unsupported = None
    meta = route["metadata"]
    for rule in route["spec"].get("rules", ()):
        backends, wrong = backends_of(rule, meta["namespace"], world.endpoints, world.grants)
        problems += wrong
        try:
            _check(rule)
            limits = rule.get("timeouts", {})
            found.append(
                (
                    list(matches_of(rule)),
                    Rule(
                        f"{meta['namespace']}/{meta['name']}",
                        tuple(backends),
                        seconds(limits.get("request")),
                        seconds(limits.get("backendRequest")),
                    ),
                )
            )
        except Unsupported as error:
            unsupported = error
    reason, message = problems[0] if problems else ("ResolvedRefs", "every backend is there")
    return unsupported or found, condition("ResolvedRefs", not problems, reason, message)


def _check(rule: Object) -> None:
    filters = [
        *rule.get("filters", ()),
        *(each for ref in rule.get("backendRefs", ()) for each in ref.get("filters", ())),
    ]
    if filters:
        raise Unsupported(f"a filter of type {filters[0]['type']}")
    for name in ("sessionPersistence", "retry"):
        if rule.get(name):
            raise Unsupported(name)


def _entries(route: Object, listener: Listener, names: list[str], rules: Rules) -> Iterable[Entry]:
    created, name = age(route)
    for number, (matches, rule) in enumerate(rules):
        for hostname in names:
            for match in matches:
                yield Entry(listener.spec["port"], hostname, match, rule, (created, name, number))


def _gateway_status(gateway: Object, listeners: list[Listener], address: str | None) -> Object:
    working = [each for each in listeners if not each.problem]
    if gateway["spec"].get("addresses"):
        accepted = condition("Accepted", False, "UnsupportedAddress", "addresses can't be chosen here")
    elif not working:
        accepted = condition("Accepted", False, "ListenersNotValid", "no listener works")
    elif len(working) < len(listeners):
        accepted = condition("Accepted", True, "ListenersNotValid", "some listeners don't work")
    else:
        accepted = condition("Accepted", True, "Accepted", "every listener works")
    fine = accepted["status"] == "True"
    if not fine:
        programmed = condition("Programmed", False, "Invalid", accepted["message"])
    elif address is None:
        programmed = condition("Programmed", False, "AddressNotAssigned", "the gateway's Service has no address yet")
    else:
        programmed = condition("Programmed", True, "Programmed", "SIMULATED gateway of the sandbox: serving")
    return {
        "addresses": [{"type": "IPAddress", "value": address}] if fine and address else [],
        "conditions": [accepted, programmed],
        "listeners": [_listener_status(each) for each in listeners],
    }


def _listener_status(listener: Listener) -> Object:
    kind, reason, message = listener.problem or ("", "", "")
    accepted = condition("Accepted", not kind, reason if kind else "Accepted", message)
    return {
        "name": listener.name,
        "attachedRoutes": listener.attached,
        "supportedKinds": [{"group": GROUP, "kind": "HTTPRoute"}] if kind != "Accepted" else [],
        "conditions": [
            accepted,
            condition("Programmed", not kind, "Invalid" if kind else "Programmed", message),
            condition("ResolvedRefs", True, "ResolvedRefs"),
            condition("Conflicted", kind == "Conflicted", reason if kind == "Conflicted" else "NoConflicts", message),
        ],
    }


def _key(item: Object) -> tuple[str, str]:
    return item["metadata"]["namespace"], item["metadata"]["name"]
