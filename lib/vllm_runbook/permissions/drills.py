"""20: what drills break, make, watch and put back."""

from __future__ import annotations

from ..cluster import Rule, rules
from ..params import Platform


def drills(platform: Platform) -> list[Rule]:
    """What drills break, make, watch and put back; only to read where the platform doesn't allow them."""
    namespace, keda = platform.namespace, platform.autoscaling.namespace
    found = [
        *rules("list", "nodes"),
        *rules("get", "configmaps", namespace=namespace),
        *rules("get", "deployments", group="apps", namespace=namespace),
    ]
    if not platform.rehearsal.drills:
        return found
    verbs = "get list watch create patch update delete"
    return [
        *found,
        *rules("get list watch patch update", "nodes"),
        *rules("list", "pods"),
        *rules("get create patch delete", "priorityclasses", group="scheduling.k8s.io"),
        *rules(verbs, "daemonsets", group="apps", namespace=platform.device_plugin.namespace),
        *rules(verbs, "configmaps secrets pods persistentvolumeclaims", namespace=namespace),
        *rules(verbs, "deployments", group="apps", namespace=namespace),
        *rules(verbs, "jobs", group="batch", namespace=namespace),
        *rules(verbs, "poddisruptionbudgets", group="policy", namespace=namespace),
        *rules("list watch", "replicasets", group="apps", namespace=namespace),
        *rules("list watch", "endpointslices", group="discovery.k8s.io", namespace=namespace),
        *rules("list watch", "events", namespace=namespace),
        *rules("get", "pods/log", namespace=namespace),
        *rules("get", "services/proxy", namespace=namespace),
        *rules("get list watch update patch", "scaledobjects", group="keda.sh", namespace=namespace),
        *rules("list watch", "horizontalpodautoscalers", group="autoscaling", namespace=namespace),
        *rules("get", "customresourcedefinitions", group="apiextensions.k8s.io"),
        *rules("get list watch update patch", "deployments", group="apps", namespace=keda),
    ]
