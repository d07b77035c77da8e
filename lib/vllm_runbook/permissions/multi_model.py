"""13: the models of a registry, and the router in front of them, in their own namespace."""

from __future__ import annotations

from ..cluster import Rule, rules
from ..params import Platform
from .rights import MONITORS, WRITE
from .serving import deploy, weights


def multi_model(platform: Platform) -> list[Rule]:
    """What 03, 04, 06 and 07 need in their namespace, in the registry's; to remove models; and to ask Prometheus.

    Nothing where the platform names no registry, but to say so.
    """
    if platform.registry is None:
        return []
    namespace = platform.models_namespace
    there = platform.model_copy(update={"namespace": namespace})
    found = [
        *weights(there),
        *deploy(there),
        *rules("get create patch", "configmaps", namespace=namespace),
        *rules("delete", "services", namespace=namespace),
        *rules("delete", "deployments", group="apps", namespace=namespace),
        *rules(f"{WRITE} delete", "poddisruptionbudgets", group="policy", namespace=namespace),
        *rules(f"{WRITE} delete", "scaledobjects", group="keda.sh", namespace=namespace),
        *rules("list watch", "horizontalpodautoscalers", group="autoscaling", namespace=namespace),
        *rules("get", "rolebindings", group="rbac.authorization.k8s.io", namespace=namespace),
        *rules("get", "services/proxy", namespace=platform.metrics.namespace),
    ]
    if platform.metrics.install == "existing" and platform.metrics.discovery in MONITORS:
        resource, group = MONITORS[platform.metrics.discovery]
        found += rules("get create patch", resource, group=group, namespace=namespace)
    return found
