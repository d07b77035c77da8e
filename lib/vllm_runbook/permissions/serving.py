"""From the first look to a served model: 00 to 04, and the usual guide's deployment in its own namespace."""

from __future__ import annotations

from ..cluster import Rule, rules
from ..params import Platform
from ..params.platform import Network
from .rights import READ, WRITE, asking, removal


def preflight(platform: Platform) -> list[Rule]:
    return [
        *rules("list", "nodes pods"),
        *rules("get", "storageclasses", group="storage.k8s.io"),
        *rules("list", "daemonsets", group="apps"),
    ]


def device_plugin(platform: Platform) -> list[Rule]:
    namespace = platform.device_plugin.namespace
    return [
        *rules("list watch", "nodes"),
        *rules("list", "pods"),
        *rules("list", "daemonsets", group="apps"),
        *rules(WRITE, "daemonsets", group="apps", namespace=namespace),
        *rules("list watch", "pods", namespace=namespace),
        *rules("get", "pods/log", namespace=namespace),
        *rules("list watch", "events", namespace=namespace),
    ]


def gpu_nodes(platform: Platform) -> list[Rule]:
    return [*rules("get list patch", "nodes"), *rules("list", "pods")]


def weights(platform: Platform) -> list[Rule]:
    namespace = platform.namespace
    found = [
        *rules("get create patch", "namespaces"),
        *rules("get", "storageclasses", group="storage.k8s.io"),
        *rules("get create patch", "secrets", namespace=namespace),
        *rules(WRITE, "persistentvolumeclaims", namespace=namespace),
        *rules(READ, "pods", namespace=namespace),
        *rules("get", "pods/log", namespace=namespace),
        *rules("list watch", "events", namespace=namespace),
    ]
    found += _policies(platform)
    if platform.storage.strategy == "per_node":
        return found + rules(WRITE, "daemonsets", group="apps", namespace=namespace)
    found += rules(f"{WRITE} delete", "jobs", group="batch", namespace=namespace)
    if platform.storage.copy_by == "snapshot":
        found += rules(WRITE, "volumesnapshots", group="snapshot.storage.k8s.io", namespace=namespace)
    return found


def deploy(platform: Platform) -> list[Rule]:
    namespace = platform.namespace
    return [
        *rules("list", "nodes"),
        *rules("list", "pods"),
        *rules("get", "namespaces"),
        *rules("get create patch", "secrets", namespace=namespace),
        *_policies(platform),
        *asking(platform),
        *rules("get create patch", "serviceaccounts", namespace=namespace),
        *rules(WRITE, "services", namespace=namespace),
        *rules("get create patch", "priorityclasses", group="scheduling.k8s.io"),
        *rules("get create", "services/proxy", namespace=namespace),
        *rules(WRITE, "deployments", group="apps", namespace=namespace),
        *rules("list watch", "replicasets", group="apps", namespace=namespace),
        *rules("get", "persistentvolumeclaims", namespace=namespace),
        *rules("list watch", "pods", namespace=namespace),
        *rules("get", "pods/log", namespace=namespace),
        *rules("list watch", "events", namespace=namespace),
    ]


def _policies(platform: Platform) -> list[Rule]:
    """Who reaches whom; nothing where the platform has no NetworkPolicies."""
    if not platform.network.policies:
        return []
    return rules("get create patch", "networkpolicies", group="networking.k8s.io", namespace=platform.namespace)


def naive(platform: Platform) -> list[Rule]:
    """The usual guide's deployment in its own namespace: what ours needs in its own, and to undo it."""
    namespace = platform.naive_namespace
    there = platform.model_copy(update={"namespace": namespace, "network": Network(policies=False)})
    return [
        *weights(there),
        *deploy(there),
        *rules("list watch delete", "namespaces"),
        *removal(namespace),
        *rules("create patch", "poddisruptionbudgets", group="policy", namespace=namespace),
        *rules("create patch", "scaledobjects", group="keda.sh", namespace=namespace),
        *rules("create", "pods/eviction", namespace=namespace),
        *rules("delete", "pods", namespace=namespace),
        *rules("watch", "events", namespace=namespace),
    ]
