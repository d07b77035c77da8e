"""Titles of the notebooks, and the least permissions that each needs; asked for before it starts."""

from __future__ import annotations

from collections.abc import Callable

from ..cluster import Rule, rules
from ..params import Platform
from .rights import MONITORS, RBAC, READ, WRITE, provisioning, removal, remove_karpenter

TITLES = {
    "00_preflight": "Preflight",
    "01_device_plugin": "Device plugin",
    "02_label_gpu_nodes": "GPU node labels",
    "03_storage_weights": "Storage and weights",
    "04_deploy_vllm": "vLLM deployment",
    "05_observability": "Observability",
    "06_autoscaling": "Autoscaling",
    "07_disruption": "Disruption and rolling updates",
    "08_spot": "Spot nodes",
    "09_diagnosis": "Diagnosis",
    "10_teardown": "Teardown",
    "12_gitops": "GitOps",
    "20_onboarding": "Onboarding",
}


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
        *rules(WRITE, "daemonsets", group="apps", namespace=namespace),
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
        *rules(WRITE, "persistentvolumeclaims", namespace=namespace),
        *rules(READ, "pods", namespace=namespace),
        *rules("get", "pods/log", namespace=namespace),
        *rules("list", "events", namespace=namespace),
    ]
    if platform.storage.strategy == "per_node":
        return found + rules(WRITE, "daemonsets", group="apps", namespace=namespace)
    found += rules(f"{WRITE} delete", "jobs", group="batch", namespace=namespace)
    if platform.storage.copy_by == "snapshot":
        found += rules(WRITE, "volumesnapshots", group="snapshot.storage.k8s.io", namespace=namespace)
    return found


def _deploy(platform: Platform) -> list[Rule]:
    namespace = platform.namespace
    return [
        *rules("list", "nodes"),
        *rules("list", "pods"),
        *rules("get create patch", "serviceaccounts", namespace=namespace),
        *rules(WRITE, "services", namespace=namespace),
        *rules("get create patch", "priorityclasses", group="scheduling.k8s.io"),
        *rules("get create", "services/proxy", namespace=namespace),
        *rules("list watch", "endpointslices", group="discovery.k8s.io", namespace=namespace),
        *rules(WRITE, "deployments", group="apps", namespace=namespace),
        *rules("list watch", "replicasets", group="apps", namespace=namespace),
        *rules("get", "persistentvolumeclaims", namespace=namespace),
        *rules("list watch", "pods", namespace=namespace),
        *rules("get", "pods/log", namespace=namespace),
        *rules("list", "events", namespace=namespace),
    ]


def _observability(platform: Platform) -> list[Rule]:
    """Prometheus, the load generator, and what the platform allows to rehearse."""
    metrics, rehearsal = platform.metrics, platform.rehearsal
    found = [
        *rules("list", "pods", namespace=platform.namespace),
        *rules("get", "services", namespace=metrics.namespace),
        *rules("get", "services/proxy", namespace=metrics.namespace),
    ]
    if metrics.install == "manifest":
        found += _prometheus(platform)
    elif metrics.discovery in MONITORS:
        resource, group = MONITORS[metrics.discovery]
        found += rules("get create patch", resource, group=group, namespace=platform.namespace)
    if rehearsal.outage:
        found += [*_naive(platform), *_load(platform)]
    return found + _crowd(platform)


def _prometheus(platform: Platform) -> list[Rule]:
    """Our own Prometheus, and its right to find pods, which we must have to give it."""
    namespace = platform.metrics.namespace
    spaces = [platform.namespace, *([platform.naive_namespace] if platform.rehearsal.outage else [])]
    found = [
        *rules("get create patch", "namespaces"),
        *rules("get create patch", "serviceaccounts configmaps services", namespace=namespace),
        *rules(WRITE, "deployments", group="apps", namespace=namespace),
        *rules("list watch", "pods", namespace=namespace),
        *rules("get", "pods/log", namespace=namespace),
        *rules("list", "events", namespace=namespace),
    ]
    for space in spaces:
        found += rules("get create patch", "roles rolebindings", group=RBAC, namespace=space)
        found += rules(READ, "pods", namespace=space)
    return found


def _load(platform: Platform) -> list[Rule]:
    """The load generator's Job, its log, and the figures that are kept."""
    namespace = platform.namespace
    return [
        *rules(f"{WRITE} delete", "jobs", group="batch", namespace=namespace),
        *rules("list watch", "pods", namespace=namespace),
        *rules("get", "pods/log", namespace=namespace),
        *rules("list", "events", namespace=namespace),
        *rules("get create patch", "configmaps", namespace=namespace),
        *rules("list watch", "deployments", group="apps", namespace=namespace),
        *rules("get", "services/proxy", namespace=platform.metrics.namespace),
    ]


def _autoscaling(platform: Platform) -> list[Rule]:
    namespace = platform.namespace
    found = [
        *_load(platform),
        *rules("get list watch patch create", "scaledobjects", group="keda.sh", namespace=namespace),
        *rules("list watch", "horizontalpodautoscalers", group="autoscaling", namespace=namespace),
        *rules("get", "*", group="external.metrics.k8s.io", namespace=namespace),
        *rules("get", "deployments", group="apps", namespace=namespace),
        *rules("get", "services/proxy", namespace=namespace),
        *rules("list watch", "endpointslices", group="discovery.k8s.io", namespace=namespace),
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
        *rules("list", "events", namespace=namespace),
    ]


def _disruption(platform: Platform) -> list[Rule]:
    namespace = platform.namespace
    found = [
        *_load(platform),
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
    return found + (_naive(platform) if platform.rehearsal.outage else [])


def _spot(platform: Platform) -> list[Rule]:
    """A second Deployment and its autoscaler, and interruptions: an order on a Node, or what a drain needs, too."""
    return [
        *_disruption(platform),
        *rules("get", "services/proxy", namespace=platform.namespace),
        *rules("watch delete", "nodes"),
        *rules("delete", "pods", namespace=platform.naive_namespace),
        *provisioning(platform),
    ]


def _naive(platform: Platform) -> list[Rule]:
    """The usual guide's deployment in its own namespace: what ours needs in its own, and to undo it."""
    namespace = platform.naive_namespace
    there = platform.model_copy(update={"namespace": namespace})
    return [
        *_weights(there),
        *_deploy(there),
        *rules("list watch delete", "namespaces"),
        *removal(namespace),
        *rules("create patch", "poddisruptionbudgets", group="policy", namespace=namespace),
        *rules("create patch", "scaledobjects", group="keda.sh", namespace=namespace),
        *rules("create", "pods/eviction", namespace=namespace),
        *rules("delete", "pods", namespace=namespace),
        *rules("watch", "events", namespace=namespace),
    ]


def _crowd(platform: Platform) -> list[Rule]:
    """A crowd of KWOK, lists of pods, and objects made and removed again."""
    if not platform.rehearsal.crowd:
        return rules("list", "pods")
    namespace = "crowd"
    return [
        *_remove_crowd(platform),
        *rules("create patch", "namespaces nodes"),
        *rules("create patch", "clusterroles clusterrolebindings", group=RBAC),
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
        *rules(verbs, "clusterroles clusterrolebindings", group=RBAC),
    ]


def _diagnosis(platform: Platform) -> list[Rule]:
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
        *rules("list", "nodes pods"),
        *rules("list", "storageclasses", group="storage.k8s.io"),
        *rules("list", "daemonsets", group="apps"),
    ]


def _teardown(platform: Platform) -> list[Rule]:
    """To find and delete what we made, wherever a notebook makes something."""
    verbs = "get list watch delete"
    spaces = (platform.namespace, platform.naive_namespace, platform.metrics.namespace, platform.autoscaling.namespace)
    found = [
        *rules("get list patch", "nodes"),
        *rules("list", "pods"),
        *rules(verbs, "namespaces"),
        *rules(verbs, "daemonsets", group="apps", namespace=platform.device_plugin.namespace),
        *rules(verbs, "rolebindings", group=RBAC, namespace="kube-system"),
        *rules(verbs, "priorityclasses", group="scheduling.k8s.io"),
        *rules(verbs, "clusterroles clusterrolebindings", group=RBAC),
        *rules(verbs, "customresourcedefinitions", group="apiextensions.k8s.io"),
        *rules(verbs, "apiservices", group="apiregistration.k8s.io"),
        *_remove_crowd(platform),
        *remove_karpenter(platform),
    ]
    for space in dict.fromkeys(spaces):
        found += removal(space)
        if platform.metrics.discovery in MONITORS:
            resource, group = MONITORS[platform.metrics.discovery]
            found += rules(verbs, resource, group=group, namespace=space)
        if platform.storage.copy_by == "snapshot":
            found += rules(verbs, "volumesnapshots", group="snapshot.storage.k8s.io", namespace=space)
    return found


def _gitops(platform: Platform) -> list[Rule]:
    """To read, and to apply in a dry run, what the notebooks leave in place."""
    steps = [name for name in _TABLE if name[:2] in ("01", "03", "04", "05", "06", "07", "08")]
    asked = [rule for name in steps for rule in _TABLE[name](platform)]
    verbs, others = ("get", "create", "patch", "escalate", "bind"), ("nodes", "pods", "secrets")
    kept = [each for each in asked if each.verb in verbs and not each.subresource and each.resource not in others]
    return list(dict.fromkeys(kept))


def _drills(platform: Platform) -> list[Rule]:
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
        *rules("get", "services/proxy", namespace=namespace),
        *rules("get list watch update patch", "scaledobjects", group="keda.sh", namespace=namespace),
        *rules("list watch", "horizontalpodautoscalers", group="autoscaling", namespace=namespace),
        *rules("get", "customresourcedefinitions", group="apiextensions.k8s.io"),
        *rules("get list watch update patch", "deployments", group="apps", namespace=keda),
    ]


_TABLE: dict[str, Callable[[Platform], list[Rule]]] = {
    "00_preflight": _preflight,
    "01_device_plugin": _device_plugin,
    "02_label_gpu_nodes": _gpu_nodes,
    "03_storage_weights": _weights,
    "04_deploy_vllm": _deploy,
    "05_observability": _observability,
    "06_autoscaling": _autoscaling,
    "07_disruption": _disruption,
    "08_spot": _spot,
    "09_diagnosis": _diagnosis,
    "10_teardown": _teardown,
    "12_gitops": _gitops,
    "20_onboarding": _drills,
}
