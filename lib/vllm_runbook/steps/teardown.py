"""Teardown: removes what this runbook created, and nothing else. Weights stay unless told otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .. import cluster as k8s
from .. import drills
from ..cluster import Ref
from ..errors import RunbookError
from ..notebook import Notebook
from ..params import Platform
from ..tables import Table
from . import canary, crowd, gpu_nodes, provisioning

#: Every kind that some notebook creates, in the order of creation: what is last here is deleted first. The ScaledObject
#: goes while KEDA still runs, and the APIService before the Service behind it, or the cluster's discovery breaks.
#: Karpenter goes after everything else, see provisioning.remove.
KINDS = (
    "PriorityClass",
    "Deployment",
    "DaemonSet",
    "Job",
    "CronJob",
    "PodDisruptionBudget",
    "NetworkPolicy",
    "Service",
    "ServiceAccount",
    "ConfigMap",
    "Role",
    "RoleBinding",
    "ClusterRole",
    "ClusterRoleBinding",
    "PersistentVolumeClaim",
    "VolumeSnapshot",
    "Secret",
    "Namespace",
    "CustomResourceDefinition",
    "APIService",
    "PodMonitor",
    "PodMonitoring",
    "PrometheusRule",
    "ScaledObject",
    "KWOKNodeClass",
    "NodePool",
    "GatewayClass",
    "Gateway",
    "HTTPRoute",
    "VirtualService",
    "DestinationRule",
)
#: Namespaces of the cluster, and what we put there; nothing else of them is looked at, their Secrets above all.
_CLUSTERS_OWN = ("kube-system", "kube-node-lease")
_SHARED_KINDS = ("DaemonSet", "Role", "RoleBinding")
#: What a namespace has without anybody's doing, or by the programs that we put there.
_NOBODYS = ("kube-root-ca.crt", "default", "kedaorg-certs")
#: Looked for before a namespace goes: what others may have put into it.
_LOOKED_FOR = (
    "Deployment",
    "StatefulSet",
    "DaemonSet",
    "Job",
    "Service",
    "ConfigMap",
    "Secret",
    "PersistentVolumeClaim",
)
_SECONDS = 300

Target = tuple[Ref, str]


class Scope:
    """What goes and what stays.

    Attributes:
        remove: objects to delete, in the order of creation.
        keep: objects of ours that stay, each with the reason.
        crowd: pods and nodes that KWOK plays; they go first, with what plays them.
    """

    def __init__(self, remove: list[Target], keep: list[tuple[Ref, str]], crowd: tuple[int, int] = (0, 0)) -> None:
        self.remove, self.keep, self.crowd = remove, keep, crowd

    def table(self) -> Table:
        rows: list[tuple[Any, ...]] = [("remove", ref, "") for ref, _ in self.remove]
        if any(self.crowd):
            rows.append(("remove", f"{self.crowd[0]:,} pods and {self.crowd[1]} nodes of the crowd", ""))
        rows += [("keep", ref, why) for ref, why in self.keep]
        return Table(("action", "object", "why"), rows or [("", "nothing here was created by this runbook", "")])

    def __str__(self) -> str:
        return str(self.table())

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return self.table()._repr_mimebundle_()


def plan(book: Notebook, *, delete_weights: bool = False) -> Scope:
    """What would be removed. Objects that others made, or that were there before, are never in it.

    The copy of the weights that the rehearsal of the usual guide made for itself goes without asking.

    Raises:
        RunbookError: a drill is under way: what it took away would be lost for good.
    """
    if now := drills.running(book):
        raise RunbookError(f"The drill {now.drill} is under way", next_step="End it first: runbook drill reset.")
    found = created(book)
    keep = {} if delete_weights else _weights(book, [ref for ref, _ in found])
    keep |= _in_use(book, [ref for ref, _ in found])
    for ref, _ in found:
        if ref.kind == "Namespace" and ref not in keep and (others := _others(book, ref.name)):
            keep[ref] = f"others put something there: {', '.join(others[:3])}"
    return Scope([target for target in found if target[0] not in keep], sorted(keep.items()), crowd.count(book))


def _weights(book: Notebook, found: Sequence[Ref]) -> dict[Ref, str]:
    """Claims and snapshots with weights, and their namespaces."""
    rehearsal = book.params.platform.naive_namespace
    kinds = ("PersistentVolumeClaim", "VolumeSnapshot")
    claims = [ref for ref in found if ref.kind in kinds and ref.namespace != rehearsal]
    keep = {ref: "holds weights, or reports; delete_weights=True removes it" for ref in claims}
    spaces = {claim.namespace for claim in claims}
    return keep | {
        ref: "its claims would go with it" for ref in found if ref.kind == "Namespace" and ref.name in spaces
    }


def _in_use(book: Notebook, found: Sequence[Ref]) -> dict[Ref, str]:
    """KEDA, if others scale by it, and Karpenter, if others have pools: everything of ours that they consist of."""
    return _keda_in_use(book, found) | _karpenter_in_use(book, found) | _gateway_in_use(book, found)


def _gateway_in_use(book: Notebook, found: Sequence[Ref]) -> dict[Ref, str]:
    """The Gateway API's definitions and our gateway, if others have Gateways or routes: those would go with them."""
    platform = book.params.platform
    if platform.canary is None or platform.canary.gateway.install != "manifest":
        return {}
    users = _of_others(book, "Gateway", "HTTPRoute")
    parts = {k8s.ref_of(item) for item in [*canary.program(platform), *canary.entrance(platform)]} if users else set()
    return {ref: f"the gateway is in use: {', '.join(users[:3])}" for ref in found if ref in parts}


def _karpenter_in_use(book: Notebook, found: Sequence[Ref]) -> dict[Ref, str]:
    users = provisioning.users(book)
    parts = provisioning.parts(book) if users else set()
    return {ref: f"Karpenter is in use: {', '.join(users[:3])}" for ref in found if ref in parts}


def _keda_in_use(book: Notebook, found: Sequence[Ref]) -> dict[Ref, str]:
    users = _of_others(book, "ScaledObject", "ScaledJob")
    if not users:
        return {}
    why = f"KEDA is in use: {', '.join(users[:3])}"
    home = book.params.platform.autoscaling.namespace
    return {ref: why for ref in found if home in (ref.namespace, ref.name) or "keda" in ref.name}


def _of_others(book: Notebook, *kinds: str) -> list[str]:
    """Objects of kinds that a program of ours may serve, anywhere, that aren't ours."""
    return [
        f"{kind} {item['metadata']['namespace']}/{item['metadata']['name']}"
        for kind in kinds
        if book.cluster.serves(kind)
        for item in book.cluster.list(kind, metadata_only=True)
        if not k8s.is_ours(item)
    ]


def _others(book: Notebook, namespace: str) -> list[str]:
    """Objects in a namespace that neither we nor a controller made."""
    return [
        f"{kind} {item['metadata']['name']}"
        for kind in _LOOKED_FOR
        for item in book.cluster.list(kind, namespace, metadata_only=True)
        if not k8s.is_ours(item)
        and not item["metadata"].get("ownerReferences")
        and item["metadata"]["name"] not in _NOBODYS
    ]


def remove(book: Notebook, scope: Scope) -> None:
    """Delete, each object watched until it is gone; then take our label off the nodes.

    In a dry run, let the server try each of these.
    """
    if book.cluster.dry_run:
        k8s.delete(book.cluster, scope.remove)
        gpu_nodes.remove_labels(book)
        return
    if any(scope.crowd) or any(ref == Ref("Namespace", crowd.NAMESPACE, "", "v1") for ref, _ in scope.remove):
        crowd.remove(book)
    parts = provisioning.parts(book)
    karpenter = [target for target in scope.remove if target[0] in parts]
    others = [target for target in scope.remove if target not in karpenter]
    gone = k8s.delete(book.cluster, others, seconds=_seconds(book))
    gone += provisioning.remove(book, karpenter)
    released = gpu_nodes.remove_labels(book)
    for ref in released:
        print(f"took our label off {ref}")
    if not gone and not released:
        print("nothing to remove")
    book.result.changed += len(gone) + len(released)


def verify(book: Notebook, scope: Scope) -> None:
    """Look again; note the checks."""
    kept = {ref for ref, _ in scope.keep}
    left = [ref for ref, _ in created(book) if ref not in kept]
    book.check("nothing that this runbook created is left but what was to stay", not left, _names(left))
    pods, nodes = crowd.count(book)
    book.check("nothing of the crowd is left", not (pods or nodes), f"{pods} pods, {nodes} nodes")
    there = [ref for ref in kept if book.cluster.find(ref)]
    book.check("what was to stay is there", len(there) == len(kept), _names(kept - set(there)))


def _kinds(book: Notebook) -> list[str]:
    """KINDS that this platform's notebooks make: of others' kinds we may not even ask."""
    platform = book.params.platform
    unused = {
        "PodMonitor": platform.metrics.discovery != "pod_monitor",
        "PodMonitoring": platform.metrics.discovery != "pod_monitoring",
        "PrometheusRule": platform.rules_by != "prometheus_rule",
        "VolumeSnapshot": platform.storage.copy_by != "snapshot",
        "KWOKNodeClass": platform.provisioning.install != "manifest",
        **_unused_routes(platform),
    }
    return [kind for kind in KINDS if not unused.get(kind)]


def _unused_routes(platform: Platform) -> dict[str, bool]:
    chosen = platform.canary
    istio, gateway = chosen is not None and chosen.engine == "istio", chosen.gateway if chosen else None
    return {
        "GatewayClass": gateway is None or gateway.install != "manifest",
        "Gateway": gateway is None or not gateway.create,
        "HTTPRoute": chosen is None or istio,
        "VirtualService": not istio,
        "DestinationRule": not istio,
    }


def created(book: Notebook) -> list[Target]:
    """What this runbook made, in the order of creation: in the cluster's own namespaces first, it goes last."""
    platform = book.params.platform
    homes = [platform.namespace, platform.naive_namespace, platform.metrics.namespace, platform.autoscaling.namespace]
    homes += [platform.models_namespace] if platform.registry else []
    homes += [platform.provisioning.namespace] if platform.provisioning.install == "manifest" else []
    homes += [platform.canary.gateway.namespace] if platform.canary and platform.canary.gateway.create else []
    homes += [crowd.NAMESPACE] if platform.rehearsal.crowd else []
    shared = [platform.device_plugin.namespace, *_CLUSTERS_OWN]
    there = k8s.created(book.cluster, _SHARED_KINDS, [name for name in dict.fromkeys(shared) if name not in homes])
    return [*there, *k8s.created(book.cluster, _kinds(book), dict.fromkeys(homes))]


def _seconds(book: Notebook) -> float:
    """Servers may use their whole grace period."""
    return _SECONDS + book.sizing.shutdown.grace_period_seconds


def _names(refs: Iterable[Ref]) -> str:
    return ", ".join(map(str, refs))
