"""06: KEDA and what it scales by."""

from __future__ import annotations

from ..cluster import Rule, rules
from ..params import Platform
from .observability import load
from .rights import RBAC, asking


def autoscaling(platform: Platform) -> list[Rule]:
    namespace = platform.namespace
    found = [
        *load(platform),
        *rules("get list watch patch create", "scaledobjects", group="keda.sh", namespace=namespace),
        *rules("list watch", "horizontalpodautoscalers", group="autoscaling", namespace=namespace),
        *rules("get list", "*", group="external.metrics.k8s.io", namespace=namespace),
        *rules("get", "deployments", group="apps", namespace=namespace),
        *rules("get", "services/proxy", namespace=namespace),
        *asking(platform),
        *rules("get list watch", "customresourcedefinitions", group="apiextensions.k8s.io"),
        *rules("get list watch", "apiservices", group="apiregistration.k8s.io"),
        *rules("list watch", "deployments", group="apps", namespace=platform.autoscaling.namespace),
        *rules("list watch", "pods", namespace=platform.autoscaling.namespace),
    ]
    return found if platform.autoscaling.install == "existing" else found + _keda(platform)


def _keda(platform: Platform) -> list[Rule]:
    """To install KEDA. Its roles are wide, and giving them needs ``escalate`` and ``bind``: an administrator's work."""
    namespace = platform.autoscaling.namespace
    return [
        *rules("get create patch", "namespaces"),
        *rules("create patch", "customresourcedefinitions", group="apiextensions.k8s.io"),
        *rules("create patch", "apiservices", group="apiregistration.k8s.io"),
        *rules("get create patch escalate bind", "clusterroles", group=RBAC),
        *rules("get create patch", "clusterrolebindings", group=RBAC),
        *rules("get create patch escalate bind", "roles", group=RBAC, namespace=namespace),
        *rules("get create patch", "rolebindings", group=RBAC, namespace=namespace),
        *rules("get create patch", "rolebindings", group=RBAC, namespace="kube-system"),
        *rules("bind", "roles", group=RBAC, namespace="kube-system"),
        *rules("get create patch", "serviceaccounts services", namespace=namespace),
        *rules("get create patch", "deployments", group="apps", namespace=namespace),
        *rules("get", "pods/log", namespace=namespace),
        *rules("list watch", "events", namespace=namespace),
    ]
