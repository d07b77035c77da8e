"""Titles of the notebooks, and the least permissions that each needs; asked for before it starts."""

from __future__ import annotations

from collections.abc import Callable

from ..cluster import Rule, rules
from ..params import Platform

TITLES = {
    "00_preflight": "Preflight",
    "01_device_plugin": "Device plugin",
    "02_label_gpu_nodes": "GPU node labels",
    "03_storage_weights": "Storage and weights",
    "04_deploy_vllm": "vLLM deployment",
    "05_observability": "Observability",
    "10_teardown": "Teardown",
}

_READ = "get list watch"
_WRITE = "get list watch create patch"


def permissions(step: str, platform: Platform) -> list[Rule]:
    """Everything that a notebook asks of the API server, as RBAC rules."""
    return _TABLE[step](platform)


def _preflight(platform: Platform) -> list[Rule]:
    return [
        *rules("list", "nodes pods"),
        *rules("get", "storageclasses", group="storage.k8s.io"),
        *rules("list", "daemonsets", group="apps"),
    ]


def _device_plugin(platform: Platform) -> list[Rule]:
    namespace = platform.device_plugin.namespace
    return [
        *rules("list watch", "nodes"),
        *rules("list", "pods"),
        *rules("list", "daemonsets", group="apps"),
        *rules(_WRITE, "daemonsets", group="apps", namespace=namespace),
        *rules("list watch", "pods", namespace=namespace),
        *rules("get", "pods/log", namespace=namespace),
        *rules("list", "events", namespace=namespace),
    ]


def _gpu_nodes(platform: Platform) -> list[Rule]:
    return [*rules("get list patch", "nodes"), *rules("list", "pods")]


def _weights(platform: Platform) -> list[Rule]:
    namespace = platform.namespace
    found = [
        *rules("get create patch", "namespaces"),
        *rules("get", "storageclasses", group="storage.k8s.io"),
        *rules("get create patch", "secrets", namespace=namespace),
        *rules(_WRITE, "persistentvolumeclaims", namespace=namespace),
        *rules(_READ, "pods", namespace=namespace),
        *rules("get", "pods/log", namespace=namespace),
        *rules("list", "events", namespace=namespace),
    ]
    if platform.storage.strategy == "per_node":
        return found + rules(_WRITE, "daemonsets", group="apps", namespace=namespace)
    found += rules(f"{_WRITE} delete", "jobs", group="batch", namespace=namespace)
    if platform.storage.copy_by == "snapshot":
        found += rules(_WRITE, "volumesnapshots", group="snapshot.storage.k8s.io", namespace=namespace)
    return found


def _deploy(platform: Platform) -> list[Rule]:
    namespace = platform.namespace
    return [
        *rules("list", "nodes"),
        *rules("list", "pods"),
        *rules("get create patch", "serviceaccounts", namespace=namespace),
        *rules(_WRITE, "services", namespace=namespace),
        *rules("get create", "services/proxy", namespace=namespace),
        *rules(_WRITE, "deployments", group="apps", namespace=namespace),
        *rules("list watch", "replicasets", group="apps", namespace=namespace),
        *rules("get", "persistentvolumeclaims", namespace=namespace),
        *rules("list watch", "pods", namespace=namespace),
        *rules("get", "pods/log", namespace=namespace),
        *rules("list", "events", namespace=namespace),
    ]


def _crowd(platform: Platform) -> list[Rule]:
    """A crowd of KWOK, lists of pods, and objects made and removed again."""
    if not platform.rehearsal.crowd:
        return rules("list", "pods")
    namespace = "crowd"
    return [
        *_remove_crowd(platform),
        *rules("create patch", "namespaces nodes"),
        *rules("create patch", "clusterroles clusterrolebindings", group="rbac.authorization.k8s.io"),
        *rules("create patch", "serviceaccounts pods configmaps", namespace=namespace),
        *rules("create patch", "deployments", group="apps", namespace=namespace),
        *rules("get", "pods/log", namespace=namespace),
        *rules("list", "events", namespace=namespace),
        # helm's record of what it installed
        *rules("get list create update deletecollection", "secrets", namespace=namespace),
        # what KWOK gets: nobody can give a permission that they don't have
        *rules("get list watch delete", "pods"),
        *rules("patch", "nodes/status pods/status"),
        *rules("get list watch create update patch", "leases", group="coordination.k8s.io"),
    ]


def _remove_crowd(platform: Platform) -> list[Rule]:
    if not platform.rehearsal.crowd:
        return []
    namespace, verbs = "crowd", "get list watch delete"
    return [
        *rules(verbs, "namespaces"),
        *rules(f"{verbs} deletecollection", "nodes"),
        *rules(f"{verbs} deletecollection", "pods configmaps", namespace=namespace),
        *rules(verbs, "serviceaccounts", namespace=namespace),
        *rules(verbs, "deployments", group="apps", namespace=namespace),
        *rules(verbs, "clusterroles clusterrolebindings", group="rbac.authorization.k8s.io"),
    ]


def _teardown(platform: Platform) -> list[Rule]:
    namespace, plugin = platform.namespace, platform.device_plugin.namespace
    verbs = "get list watch delete"
    return [
        *rules("get list patch", "nodes"),
        *rules("list", "pods"),
        *rules(verbs, "namespaces"),
        *rules(verbs, "services serviceaccounts secrets persistentvolumeclaims", namespace=namespace),
        *rules(verbs, "deployments daemonsets", group="apps", namespace=namespace),
        *rules(verbs, "jobs", group="batch", namespace=namespace),
        *rules(verbs, "daemonsets", group="apps", namespace=plugin),
        *_remove_crowd(platform),
    ]


_TABLE: dict[str, Callable[[Platform], list[Rule]]] = {
    "00_preflight": _preflight,
    "01_device_plugin": _device_plugin,
    "02_label_gpu_nodes": _gpu_nodes,
    "03_storage_weights": _weights,
    "04_deploy_vllm": _deploy,
    "05_observability": _crowd,
    "10_teardown": _teardown,
}
