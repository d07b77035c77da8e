"""Backends of a rule: are they there, and may this route use them."""

from __future__ import annotations

from typing import Any

from vllm_sandbox.gateway import GROUP
from vllm_sandbox.gateway.endpoints import Endpoints
from vllm_sandbox.gateway.table import Backend

Object = dict[str, Any]


class Grants:
    """ReferenceGrants: which Services routes of another namespace may name."""

    def __init__(self, items: list[Object]) -> None:
        self._items = items

    def allow(self, namespace: str, service: str, service_namespace: str) -> bool:
        """Whether an HTTPRoute of ``namespace`` may name a Service elsewhere."""
        wanted = (GROUP, "HTTPRoute", namespace)
        for item in self._items:
            if item["metadata"]["namespace"] != service_namespace:
                continue
            sources = [(each["group"], each["kind"], each["namespace"]) for each in item["spec"]["from"]]
            targets = [each for each in item["spec"]["to"] if (each["group"], each["kind"]) == ("", "Service")]
            if wanted in sources and any(each.get("name", service) == service for each in targets):
                return True
        return False


def backends_of(
    rule: Object, namespace: str, endpoints: Endpoints, grants: Grants
) -> tuple[list[tuple[Backend, int]], list[tuple[str, str]]]:
    """The backends of a rule with their weights; and reason and message of each that can't be used."""
    found, problems = [], []
    for ref in rule.get("backendRefs", ()):
        backend, reason = _backend(ref, namespace, endpoints, grants)
        found.append((backend, int(ref.get("weight", 1))))
        if reason:
            problems.append((reason, backend.problem))
    return found, problems


def _backend(ref: Object, namespace: str, endpoints: Endpoints, grants: Grants) -> tuple[Backend, str]:
    home = ref.get("namespace", namespace)
    key, port = f"{home}/{ref['name']}", int(ref.get("port") or 0)
    if ref.get("group", "") or ref.get("kind", "Service") != "Service":
        return Backend(key, port, f"{ref.get('kind')} {key} is no Service"), "InvalidKind"
    if home != namespace and not grants.allow(namespace, ref["name"], home):
        return Backend(key, port, f"no ReferenceGrant lets routes of {namespace} use Service {key}"), "RefNotPermitted"
    service = endpoints.service(key)
    if service is None:
        return Backend(key, port, f"there is no Service {key}"), "BackendNotFound"
    if all(each["port"] != port for each in service["spec"].get("ports", ())):
        return Backend(key, port, f"Service {key} has no port {port}"), "BackendNotFound"
    return Backend(key, port), ""
