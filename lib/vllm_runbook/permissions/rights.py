"""Words of the permissions, and what several notebooks do alike: ask a server, remove what was made in a namespace."""

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
#: Rules of the Prometheus operator: resource and group.
RULES = ("prometheusrules", "monitoring.coreos.com")


def asking(platform: Platform) -> list[Rule]:
    """To ask a server something: find a ready pod, reach it by port-forward, and show the API key."""
    namespace, key = platform.namespace, platform.api_key
    found = [
        *rules("list watch", "endpointslices", group="discovery.k8s.io", namespace=namespace),
        # "create" is what newer API servers want of a WebSocket, too
        *rules("get create", "pods/portforward", namespace=namespace),
    ]
    return found + (rules("get", "secrets", namespace=namespace, names=key.secret.name) if key.enabled else [])


def removal(namespace: str) -> list[Rule]:
    """To find and delete what we made in a namespace."""
    verbs = "get list watch delete"
    return [
        *rules(verbs, "services serviceaccounts secrets configmaps persistentvolumeclaims", namespace=namespace),
        *rules(verbs, "deployments daemonsets", group="apps", namespace=namespace),
        *rules(verbs, "jobs cronjobs", group="batch", namespace=namespace),
        *rules(verbs, "poddisruptionbudgets", group="policy", namespace=namespace),
        *rules(verbs, "networkpolicies", group="networking.k8s.io", namespace=namespace),
        *rules(verbs, "roles rolebindings", group=RBAC, namespace=namespace),
        *rules(verbs, "scaledobjects", group="keda.sh", namespace=namespace),
        *rules("list", "statefulsets", group="apps", namespace=namespace),
    ]
