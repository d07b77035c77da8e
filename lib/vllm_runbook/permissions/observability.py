"""05: Prometheus and what it scrapes, the load generator, and what the platform allows to rehearse."""

from __future__ import annotations

from ..cluster import Rule, rules
from ..params import Platform
from .crowd import crowd
from .rights import MONITORS, RBAC, READ, RULES, WRITE
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
    if platform.rules_by == "prometheus_rule":
        found += rules("get create patch", RULES[0], group=RULES[1], namespace=platform.namespace)
    if rehearsal.outage:
        found += naive(platform)
    if rehearsal.outage or rehearsal.load:
        found += load(platform)
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
        found += _finding_pods(space)
    if platform.monitoring.state_metrics == "manifest":
        found += _state_metrics(namespace, spaces)
    if platform.monitoring.dcgm_exporter == "manifest":
        home = platform.device_plugin.namespace
        found += [*_finding_pods(home), *rules(WRITE, "daemonsets", group="apps", namespace=home)]
        found += [*rules("get", "pods/log", namespace=home), *rules("list watch", "events", namespace=home)]
    return found


def _finding_pods(namespace: str) -> list[Rule]:
    """Who gives Prometheus the right to find pods must have it."""
    return [
        *rules("get create patch", "roles rolebindings", group=RBAC, namespace=namespace),
        *rules(READ, "pods", namespace=namespace),
    ]


def _state_metrics(home: str, spaces: list[str]) -> list[Rule]:
    """kube-state-metrics, whose rights we have, too: so neither ``escalate`` nor ``bind`` is needed to give them."""
    found = [
        *_finding_pods(home),
        *rules("get create patch", "clusterroles clusterrolebindings", group=RBAC),
        *rules("list watch", "nodes"),
    ]
    for space in spaces:
        found += rules("list watch", "deployments", group="apps", namespace=space)
        found += rules("list watch", "horizontalpodautoscalers", group="autoscaling", namespace=space)
        found += rules("list watch", "poddisruptionbudgets", group="policy", namespace=space)
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
