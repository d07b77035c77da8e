"""05: Prometheus, the load generator, and what the platform allows to rehearse."""

from __future__ import annotations

from ..cluster import Rule, rules
from ..params import Platform
from .crowd import crowd
from .rights import MONITORS, RBAC, READ, WRITE
from .serving import naive


def observability(platform: Platform) -> list[Rule]:
    """Prometheus, the load generator, and what the platform allows to rehearse."""
    metrics, rehearsal = platform.metrics, platform.rehearsal
    found = [
        *rules("list", "pods", namespace=platform.namespace),
        *rules("get", "deployments", group="apps", namespace=platform.namespace),
        *rules("get", "services", namespace=metrics.namespace),
        *rules("get", "services/proxy", namespace=metrics.namespace),
    ]
    if metrics.install == "manifest":
        found += _prometheus(platform)
    elif metrics.discovery in MONITORS:
        resource, group = MONITORS[metrics.discovery]
        found += rules("get create patch", resource, group=group, namespace=platform.namespace)
    if rehearsal.outage:
        found += [*naive(platform), *load(platform)]
    return found + crowd(platform)


def _prometheus(platform: Platform) -> list[Rule]:
    """Our own Prometheus, and its right to find pods, which we must have to give it."""
    namespace = platform.metrics.namespace
    spaces = [platform.namespace, *([platform.naive_namespace] if platform.rehearsal.outage else [])]
    spaces += [platform.models_namespace] if platform.registry else []
    found = [
        *rules("get create patch", "namespaces"),
        *rules("get create patch", "serviceaccounts configmaps services", namespace=namespace),
        *rules(WRITE, "deployments", group="apps", namespace=namespace),
        *rules("list watch", "pods", namespace=namespace),
        *rules("get", "pods/log", namespace=namespace),
        *rules("list watch", "events", namespace=namespace),
    ]
    for space in spaces:
        found += rules("get create patch", "roles rolebindings", group=RBAC, namespace=space)
        found += rules(READ, "pods", namespace=space)
    return found


def load(platform: Platform) -> list[Rule]:
    """The load generator's Job, its log, and the figures that are kept."""
    namespace = platform.namespace
    return [
        *rules(f"{WRITE} delete", "jobs", group="batch", namespace=namespace),
        *rules("list watch", "pods", namespace=namespace),
        *rules("get", "pods/log", namespace=namespace),
        *rules("list watch", "events", namespace=namespace),
        *rules("get create patch", "configmaps", namespace=namespace),
        *rules("list watch", "deployments", group="apps", namespace=namespace),
        *rules("get", "services/proxy", namespace=platform.metrics.namespace),
    ]
