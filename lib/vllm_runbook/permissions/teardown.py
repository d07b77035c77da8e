"""10: to find and delete what we made, wherever a notebook makes something."""

from __future__ import annotations

from ..cluster import Rule, rules
from ..params import Platform
from .canary import remove_canary
from .crowd import remove_crowd
from .provisioning import remove_karpenter
from .rights import MONITORS, RBAC, RULES, removal


def teardown(platform: Platform) -> list[Rule]:
    """To find and delete what we made, wherever a notebook makes something."""
    verbs = "get list watch delete"
    spaces = [platform.namespace, platform.naive_namespace, platform.metrics.namespace, platform.autoscaling.namespace]
    spaces += [platform.models_namespace] if platform.registry else []
    found = [
        *rules("get list patch", "nodes"),
        *rules("list", "pods"),
        *rules(verbs, "namespaces"),
        # whether others need KEDA or Karpenter still
        *rules("list", "scaledobjects scaledjobs", group="keda.sh"),
        *rules("list", "nodepools", group="karpenter.sh"),
        *rules(verbs, "priorityclasses", group="scheduling.k8s.io"),
        *rules(verbs, "clusterroles clusterrolebindings", group=RBAC),
        *rules(verbs, "customresourcedefinitions", group="apiextensions.k8s.io"),
        *rules(verbs, "apiservices", group="apiregistration.k8s.io"),
        *remove_crowd(platform),
        *remove_karpenter(platform),
        *remove_canary(platform),
    ]
    for space in dict.fromkeys((platform.device_plugin.namespace, "kube-system", "kube-node-lease")):
        found += rules(verbs, "daemonsets", group="apps", namespace=space)
        found += rules(verbs, "roles rolebindings", group=RBAC, namespace=space)
    for space in dict.fromkeys(spaces):
        found += removal(space)
        if platform.metrics.discovery in MONITORS:
            resource, group = MONITORS[platform.metrics.discovery]
            found += rules(verbs, resource, group=group, namespace=space)
        if platform.rules_by == "prometheus_rule":
            found += rules(verbs, RULES[0], group=RULES[1], namespace=space)
        if platform.storage.copy_by == "snapshot":
            found += rules(verbs, "volumesnapshots", group="snapshot.storage.k8s.io", namespace=space)
    return found
