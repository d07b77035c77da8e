"""30: to compare what is there with what was applied, and to ask one question. Nothing can be written with these."""

from __future__ import annotations

from ..cluster import Rule, rules
from ..cluster.lease import NAME
from ..params import Platform
from .canary import objects
from .rights import MONITORS, RBAC, READ, RULES, asking

_CORE = "serviceaccounts services configmaps persistentvolumeclaims"


def verify(platform: Platform) -> list[Rule]:
    namespace = platform.namespace
    found = [
        *_objects(namespace),
        *asking(platform),
        *rules(READ, "leases", group="coordination.k8s.io", namespace=namespace, names=NAME),
        *rules("get", "daemonsets", group="apps", namespace=platform.device_plugin.namespace),
        *rules("get", "namespaces"),
        *rules("get", "priorityclasses", group="scheduling.k8s.io"),
    ]
    if platform.metrics.install == "manifest":
        found += _objects(platform.metrics.namespace)
        if platform.rehearsal.outage:  # our Prometheus looks there, too
            found += rules("get", "roles rolebindings", group=RBAC, namespace=platform.naive_namespace)
        if platform.monitoring.state_metrics == "manifest":
            found += rules("get", "clusterroles clusterrolebindings", group=RBAC)
        if platform.monitoring.dcgm_exporter == "manifest":
            found += rules("get", "roles rolebindings", group=RBAC, namespace=platform.device_plugin.namespace)
    if platform.metrics.discovery in MONITORS:
        resource, group = MONITORS[platform.metrics.discovery]
        found += rules("get", resource, group=group, namespace=namespace)
    if platform.rules_by == "prometheus_rule":
        found += rules("get", RULES[0], group=RULES[1], namespace=namespace)
    if platform.registry is not None:
        found += _objects(platform.models_namespace)
        if platform.metrics.discovery in MONITORS:
            resource, group = MONITORS[platform.metrics.discovery]
            found += rules("get", resource, group=group, namespace=platform.models_namespace)
    if platform.storage.copy_by == "snapshot":
        found += rules("get", "volumesnapshots", group="snapshot.storage.k8s.io", namespace=namespace)
    if platform.autoscaling.install != "existing":
        found += [*_objects(platform.autoscaling.namespace), *_installed("kube-system")]
    if platform.provisioning.install == "manifest":
        found += [*_objects(platform.provisioning.namespace), *_installed("kube-node-lease")]
        found += rules("get", "nodepools", group="karpenter.sh")
        found += rules("get", "kwoknodeclasses", group="karpenter.kwok.sh")
    found += objects(platform, "get")
    if platform.canary is not None and platform.canary.gateway.install == "manifest":
        found += [*_objects(platform.canary.gateway.namespace), *_installed(platform.canary.gateway.namespace)]
    return found


def _objects(namespace: str) -> list[Rule]:
    """What the notebooks leave in a namespace."""
    return [
        *rules("get", _CORE, namespace=namespace),
        *rules("get", "deployments daemonsets", group="apps", namespace=namespace),
        *rules("get", "jobs", group="batch", namespace=namespace),
        *rules("get", "poddisruptionbudgets", group="policy", namespace=namespace),
        *rules("get", "networkpolicies", group="networking.k8s.io", namespace=namespace),
        *rules("get", "scaledobjects", group="keda.sh", namespace=namespace),
        *rules("get", "roles rolebindings", group=RBAC, namespace=namespace),
    ]


def _installed(namespace: str) -> list[Rule]:
    """What installed programs need beyond their own namespace."""
    return [
        *rules("get", "roles rolebindings", group=RBAC, namespace=namespace),
        *rules("get", "clusterroles clusterrolebindings", group=RBAC),
        *rules("get", "customresourcedefinitions", group="apiextensions.k8s.io"),
        *rules("get", "apiservices", group="apiregistration.k8s.io"),
    ]
