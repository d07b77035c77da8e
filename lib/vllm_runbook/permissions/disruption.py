"""07 and 08: updates, drains, deletions and spot nodes under load."""

from __future__ import annotations

from ..cluster import Rule, rules
from ..params import Platform
from .observability import load
from .provisioning import provisioning
from .rights import WRITE
from .serving import naive


def disruption(platform: Platform) -> list[Rule]:
    namespace = platform.namespace
    found = [
        *load(platform),
        *rules(WRITE, "poddisruptionbudgets", group="policy", namespace=namespace),
        *rules(WRITE, "deployments", group="apps", namespace=namespace),
        *rules("list watch", "replicasets", group="apps", namespace=namespace),
        *rules("create", "pods/eviction", namespace=namespace),
        *rules("get delete", "pods", namespace=namespace),
        *rules("watch", "events", namespace=namespace),
        *rules("get list watch patch create", "scaledobjects", group="keda.sh", namespace=namespace),
        *rules("list watch", "horizontalpodautoscalers", group="autoscaling", namespace=namespace),
        *rules("get", "customresourcedefinitions", group="apiextensions.k8s.io"),
        # kubectl drain: it looks at every pod of the node, and marks the node
        *rules("get list patch", "nodes"),
        *rules("list", "pods"),
        *rules("get", "pods"),
        *rules("get", "daemonsets", group="apps"),
        *rules("create", "pods/eviction"),
    ]
    return found + (naive(platform) if platform.rehearsal.outage else [])


def spot(platform: Platform) -> list[Rule]:
    """A second Deployment and its autoscaler, and interruptions: an order on a Node, or what a drain needs, too."""
    return [
        *disruption(platform),
        *rules("get", "services/proxy", namespace=platform.namespace),
        *rules("watch delete", "nodes"),
        *rules("delete", "pods", namespace=platform.naive_namespace),
        *provisioning(platform),
    ]
