"""09: to look, and nothing else."""

from __future__ import annotations

from ..cluster import Rule, rules
from ..params import Platform


def diagnosis(platform: Platform) -> list[Rule]:
    """To look, and nothing else. What the doctor reads beyond this (metrics of the API server) it does without."""
    namespace = platform.namespace
    return [
        *rules("list", "pods events persistentvolumeclaims services", namespace=namespace),
        *rules("get", "pods/log", namespace=namespace),
        *rules("list", "deployments", group="apps", namespace=namespace),
        *rules("list", "jobs", group="batch", namespace=namespace),
        *rules("list", "endpointslices", group="discovery.k8s.io", namespace=namespace),
        *rules("list", "horizontalpodautoscalers", group="autoscaling", namespace=namespace),
        *rules("list", "poddisruptionbudgets", group="policy", namespace=namespace),
        *rules("list", "networkpolicies", group="networking.k8s.io", namespace=namespace),
        *rules("list", "nodes pods"),
        *rules("list", "storageclasses", group="storage.k8s.io"),
        *rules("list", "daemonsets", group="apps"),
    ]
