"""11: a gateway, its route, a second version, and load through it."""

from __future__ import annotations

from ..cluster import Rule, rules
from ..params import Platform
from ..params.canary import Canary
from .observability import load
from .rights import RBAC, WRITE, asking, removal

_GATEWAY, _ISTIO = "gateway.networking.k8s.io", "networking.istio.io"


def canary(platform: Platform) -> list[Rule]:
    """To put a version beside the stable one and give it a share of the traffic; nothing where there is no way in."""
    chosen, namespace = platform.canary, platform.namespace
    if chosen is None:
        return []
    found = [
        *rules("get", "namespaces"),
        *rules(f"{WRITE} delete", "deployments", group="apps", namespace=namespace),
        *rules(f"{WRITE} delete", "services", namespace=namespace),
        *rules("list watch", "replicasets", group="apps", namespace=namespace),
        *rules("list watch", "pods", namespace=namespace),
        *rules("get", "pods/log", namespace=namespace),
        *rules("list watch", "events", namespace=namespace),
        *asking(platform),
        *rules("get", "services/proxy", namespace=platform.metrics.namespace),
        *_route(chosen, namespace),
    ]
    found += load(platform) if platform.rehearsal.load else []
    return found + (_program(chosen) if chosen.gateway.install == "manifest" else [])


def _route(chosen: Canary, namespace: str) -> list[Rule]:
    entrance = chosen.gateway.namespace
    if chosen.engine == "istio":
        return [
            *rules("get create patch", "virtualservices", group=_ISTIO, namespace=namespace),
            *rules("get create patch delete", "destinationrules", group=_ISTIO, namespace=namespace),
        ]
    return [
        *rules("get", "customresourcedefinitions", group="apiextensions.k8s.io"),
        *rules(WRITE, "httproutes", group=_GATEWAY, namespace=namespace),
        *rules("get list watch", "gateways", group=_GATEWAY, namespace=entrance),
        *(rules("get create patch", "gateways", group=_GATEWAY, namespace=entrance) if chosen.gateway.create else []),
    ]


def _program(chosen: Canary) -> list[Rule]:
    """To install the sandbox's gateway; giving it its role is an administrator's work, as with KEDA."""
    namespace = chosen.gateway.namespace
    return [
        *rules("get create patch", "namespaces"),
        *rules("get create patch", "customresourcedefinitions", group="apiextensions.k8s.io"),
        *rules("get create patch", "gatewayclasses", group=_GATEWAY),
        *rules("get create patch escalate bind", "clusterroles", group=RBAC),
        *rules("get create patch", "clusterrolebindings", group=RBAC),
        *rules("get create patch", "serviceaccounts services", namespace=namespace),
        *rules(WRITE, "deployments", group="apps", namespace=namespace),
        *rules("list watch", "pods", namespace=namespace),
        *rules("get", "pods/log", namespace=namespace),
        *rules("list watch", "events", namespace=namespace),
    ]


def objects(platform: Platform, verbs: str) -> list[Rule]:
    """Rights to the objects of the way in, for who verifies or removes them."""
    chosen = platform.canary
    if chosen is None:
        return []
    if chosen.engine == "istio":
        found = rules(verbs, "virtualservices destinationrules", group=_ISTIO, namespace=platform.namespace)
    else:
        found = rules(verbs, "httproutes", group=_GATEWAY, namespace=platform.namespace)
    if chosen.gateway.create:
        found += rules(verbs, "gateways", group=_GATEWAY, namespace=chosen.gateway.namespace)
    if chosen.gateway.install == "manifest":
        found += rules(verbs, "gatewayclasses", group=_GATEWAY)
    return found


def remove_canary(platform: Platform) -> list[Rule]:
    """To find and delete what notebook 11 leaves."""
    found = objects(platform, "get list watch delete")
    if platform.canary is not None and platform.canary.gateway.install == "manifest":
        found += [*removal(platform.canary.gateway.namespace), *rules("list", "gateways httproutes", group=_GATEWAY)]
    return found
