"""What is attached, and what the status says: by the specification's conditions and reasons."""

from __future__ import annotations

from typing import Any

import pytest

from vllm_sandbox.gateway import CONTROLLER
from vllm_sandbox.gateway.attach import Attached, World, attach
from vllm_sandbox.gateway.backends import Grants
from vllm_sandbox.gateway.conditions import condition, merged
from vllm_sandbox.gateway.endpoints import Endpoints

Object = dict[str, Any]
CLASS = {"metadata": {"name": "ours"}, "spec": {"controllerName": CONTROLLER}}


def item(kind: str, name: str, namespace: str, spec: Object, created: str = "2026") -> Object:
    meta = {
        "name": name,
        "namespace": namespace,
        "uid": f"{kind}-{name}",
        "creationTimestamp": created,
        "generation": 1,
    }
    return {"kind": kind, "metadata": meta, "spec": spec}


def gateway(name: str = "way", created: str = "2026", *, class_name: str = "ours", **listener: Any) -> Object:
    listeners = [{"name": "http", "port": 80, "protocol": "HTTP", **listener}]
    return item("Gateway", name, "system", {"gatewayClassName": class_name, "listeners": listeners}, created)


FROM_ALL = {"allowedRoutes": {"namespaces": {"from": "All"}}}
FROM_OTHERS = {"allowedRoutes": {"namespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "x"}}}}}


def route(name: str = "r", namespace: str = "llm", parent: Object | None = None, **rule: Any) -> Object:
    refs = [{"name": "way", "namespace": "system", **(parent or {})}]
    rules = [{"backendRefs": [{"name": "inference", "port": 8000}], **rule}]
    return item("HTTPRoute", name, namespace, {"parentRefs": refs, "rules": rules})


def look(gateways: list[Object], routes: list[Object], address: str | None = "10.96.0.9", grants: Any = ()) -> Attached:
    endpoints = Endpoints()
    for namespace in ("llm", "other"):
        service = item("Service", "inference", namespace, {"ports": [{"name": "http", "port": 8000}]})
        endpoints.service_event("ADDED", service)
    namespaces = {"llm": {"team": "llm"}, "other": {}}
    world = World([CLASS], gateways, routes, Grants(list(grants)), namespaces, endpoints, frozenset({80}), address)
    return attach(world)


def told(found: Attached, name: str = "r") -> dict[str, tuple[str, str]]:
    """Status and reason of a route's conditions."""
    ((_, conditions),) = found.parents[f"HTTPRoute-{name}"]
    return {each["type"]: (each["status"], each["reason"]) for each in conditions}


def test_all_is_well() -> None:
    found = look([gateway(**FROM_ALL)], [route()])
    assert told(found) == {"Accepted": ("True", "Accepted"), "ResolvedRefs": ("True", "ResolvedRefs")}
    status = found.gateways["Gateway-way"]
    assert status["addresses"] == [{"type": "IPAddress", "value": "10.96.0.9"}]
    assert [(each["type"], each["status"]) for each in status["conditions"]] == [
        ("Accepted", "True"),
        ("Programmed", "True"),
    ]
    (listener,) = status["listeners"]
    assert listener["attachedRoutes"] == 1 and len(found.entries) == 1


@pytest.mark.parametrize(
    ("listener", "parent", "reason"),
    [
        ({}, {}, "NotAllowedByListeners"),
        (FROM_ALL, {"sectionName": "https"}, "NoMatchingParent"),
        (FROM_ALL, {"port": 8080}, "NoMatchingParent"),
        (FROM_OTHERS, {}, "NotAllowedByListeners"),
    ],
)
def test_a_route_that_may_not_attach(listener: Object, parent: Object, reason: str) -> None:
    found = look([gateway(**listener)], [route(parent=parent)])
    assert told(found)["Accepted"] == ("False", reason) and not found.entries


def test_a_selector_lets_in_whom_it_picks() -> None:
    selector = {"matchLabels": {"team": "llm"}}
    allowed = {"allowedRoutes": {"namespaces": {"from": "Selector", "selector": selector}}}
    found = look([gateway(**allowed)], [route(), route("far", "other")])
    assert told(found)["Accepted"][0] == "True" and told(found, "far")["Accepted"][0] == "False"


@pytest.mark.parametrize(
    ("ref", "reason"),
    [
        ({"name": "nothing", "port": 8000}, "BackendNotFound"),
        ({"name": "inference", "port": 9999}, "BackendNotFound"),
        ({"name": "inference", "port": 8000, "kind": "Bucket", "group": "example.com"}, "InvalidKind"),
        ({"name": "inference", "port": 8000, "namespace": "other"}, "RefNotPermitted"),
    ],
)
def test_a_backend_that_can_not_be_used(ref: Object, reason: str) -> None:
    """The route is accepted all the same: only that backend's share is answered with 500."""
    found = look([gateway(**FROM_ALL)], [route(backendRefs=[ref])])
    assert told(found) == {"Accepted": ("True", "Accepted"), "ResolvedRefs": ("False", reason)}
    ((backend, _),) = found.entries[0].rule.backends
    assert backend.problem


def test_a_grant_permits_what_is_elsewhere() -> None:
    source = {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "llm"}
    grant = item("ReferenceGrant", "g", "other", {"from": [source], "to": [{"group": "", "kind": "Service"}]})
    ref = {"name": "inference", "port": 8000, "namespace": "other"}
    found = look([gateway(**FROM_ALL)], [route(backendRefs=[ref])], grants=[grant])
    assert told(found)["ResolvedRefs"] == ("True", "ResolvedRefs")


def test_a_filter_is_not_silently_left_out() -> None:
    found = look([gateway(**FROM_ALL)], [route(filters=[{"type": "RequestRedirect"}])])
    assert told(found)["Accepted"] == ("False", "UnsupportedValue") and not found.entries


def test_other_classes_are_left_alone() -> None:
    found = look([gateway(class_name="envoy", **FROM_ALL)], [route()])
    assert not found.gateways and not found.parents


@pytest.mark.parametrize(
    ("listener", "reason"),
    [({"protocol": "HTTPS"}, "UnsupportedProtocol"), ({"port": 81}, "PortUnavailable")],
)
def test_a_listener_that_does_not_work(listener: Object, reason: str) -> None:
    status = look([gateway(**FROM_ALL, **listener)], []).gateways["Gateway-way"]
    assert status["listeners"][0]["conditions"][0]["reason"] == reason
    assert [each["status"] for each in status["conditions"]] == ["False", "False"] and not status["addresses"]


def test_of_two_gateways_with_one_port_the_older_works() -> None:
    found = look([gateway("younger", "2027", **FROM_ALL), gateway(**FROM_ALL)], [])
    reasons = {uid: status["listeners"][0]["conditions"][3]["reason"] for uid, status in found.gateways.items()}
    assert reasons == {"Gateway-way": "NoConflicts", "Gateway-younger": "HostnameConflict"}


def test_without_an_address_a_gateway_is_not_programmed() -> None:
    status = look([gateway(**FROM_ALL)], [], address=None).gateways["Gateway-way"]
    assert status["conditions"][1]["reason"] == "AddressNotAssigned"


def test_a_condition_keeps_its_time_until_its_status_changes() -> None:
    old = [{**condition("Accepted", True, "Accepted"), "lastTransitionTime": "then", "observedGeneration": 1}]
    (same,) = merged(old, [condition("Accepted", True, "Accepted")], 2)
    assert (same["lastTransitionTime"], same["observedGeneration"]) == ("then", 2)
    (other,) = merged(old, [condition("Accepted", False, "NoMatchingParent")], 2)
    assert other["lastTransitionTime"] != "then"
