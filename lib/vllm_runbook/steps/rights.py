"""Words and parts of the permissions: verbs, the removal of what we made, and Karpenter's."""

from __future__ import annotations

from ..cluster import Rule, rules
from ..params import Platform

READ = "get list watch"
WRITE = "get list watch create patch"
RBAC = "rbac.authorization.k8s.io"
#: What tells a Prometheus of our pods, by ``metrics.discovery``: resource and group.
MONITORS = {
    "pod_monitor": ("podmonitors", "monitoring.coreos.com"),
    "pod_monitoring": ("podmonitorings", "monitoring.googleapis.com"),
}


def removal(namespace: str) -> list[Rule]:
    """To find and delete what we made in a namespace."""
    verbs = "get list watch delete"
    return [
        *rules(verbs, "services serviceaccounts secrets configmaps persistentvolumeclaims", namespace=namespace),
        *rules(verbs, "deployments daemonsets", group="apps", namespace=namespace),
        *rules(verbs, "jobs", group="batch", namespace=namespace),
        *rules(verbs, "poddisruptionbudgets", group="policy", namespace=namespace),
        *rules(verbs, "roles rolebindings", group=RBAC, namespace=namespace),
        *rules(verbs, "scaledobjects", group="keda.sh", namespace=namespace),
        *rules("list", "statefulsets", group="apps", namespace=namespace),
    ]


def provisioning(platform: Platform) -> list[Rule]:
    """Karpenter and its pools."""
    settings = platform.provisioning
    if settings.install == "none":
        return []
    found = [
        *rules("get list watch", "nodepools nodeclaims", group="karpenter.sh"),
        *rules("get", "customresourcedefinitions", group="apiextensions.k8s.io"),
    ]
    return found if settings.install == "existing" else found + _karpenter(platform)


def _karpenter(platform: Platform) -> list[Rule]:
    """To install Karpenter; giving it its roles is an administrator's work, as with KEDA."""
    namespace = platform.provisioning.namespace
    return [
        *rules("get create patch", "namespaces"),
        *rules("create patch", "customresourcedefinitions", group="apiextensions.k8s.io"),
        *rules("create patch", "nodepools", group="karpenter.sh"),
        *rules("get create patch", "kwoknodeclasses", group="karpenter.kwok.sh"),
        *rules("get create patch escalate bind", "clusterroles", group=RBAC),
        *rules("get create patch", "clusterrolebindings", group=RBAC),
        *rules("get create patch escalate bind", "roles", group=RBAC, namespace="kube-node-lease"),
        *rules("get create patch", "rolebindings", group=RBAC, namespace="kube-node-lease"),
        *rules("get create patch", "serviceaccounts configmaps", namespace=namespace),
        *rules(WRITE, "deployments", group="apps", namespace=namespace),
        *rules("list watch", "pods", namespace=namespace),
        *rules("get", "pods/log", namespace=namespace),
        *rules("list", "events", namespace=namespace),
    ]


def remove_karpenter(platform: Platform) -> list[Rule]:
    if platform.provisioning.install != "manifest":
        return []
    verbs = "get list watch delete"
    return [
        *rules(verbs, "nodepools", group="karpenter.sh"),
        *rules("list watch", "nodeclaims", group="karpenter.sh"),
        *rules(verbs, "kwoknodeclasses", group="karpenter.kwok.sh"),
        *rules(verbs, "roles rolebindings", group=RBAC, namespace="kube-node-lease"),
        *removal(platform.provisioning.namespace),
    ]
