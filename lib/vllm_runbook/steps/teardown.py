"""Teardown: removes what this runbook created, and nothing else. Weights stay unless told otherwise."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import cluster as k8s
from ..cluster import Ref
from ..notebook import Notebook
from ..tables import Table
from . import crowd, gpu_nodes

#: Every kind that some notebook creates.
KINDS = ("Deployment", "Service", "DaemonSet", "Job", "ServiceAccount", "PersistentVolumeClaim", "Secret", "Namespace")
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
    """What would be removed. Objects that others made, or that were there before, are never in it."""
    namespaces = dict.fromkeys((book.namespace, book.params.platform.device_plugin.namespace))
    found = list(k8s.created(book.cluster, KINDS, namespaces))
    played = crowd.count(book)
    if delete_weights:
        return Scope(found, [], played)
    claims = {ref for ref, _ in found if ref.kind == "PersistentVolumeClaim"}
    keep = [(ref, "holds weights; delete_weights=True removes it") for ref in sorted(claims)]
    spaces = {
        ref for ref, _ in found if ref.kind == "Namespace" and any(ref.name == claim.namespace for claim in claims)
    }
    keep += [(ref, "its claims would go with it") for ref in sorted(spaces)]
    return Scope([target for target in found if target[0] not in claims | spaces], keep, played)


def remove(book: Notebook, scope: Scope) -> None:
    """Delete, each object watched until it is gone; then take our label off the nodes."""
    if any(scope.crowd) or any(ref == Ref("Namespace", crowd.NAMESPACE, "", "v1") for ref, _ in scope.remove):
        crowd.remove(book)
    gone = k8s.delete(book.cluster, scope.remove, seconds=_seconds(book))
    released = gpu_nodes.remove_labels(book)
    for ref in released:
        print(f"took our label off {ref}")
    if not gone and not released:
        print("nothing to remove")
    book.result.changed += len(gone) + len(released)


def verify(book: Notebook, scope: Scope) -> None:
    """Look again; note the checks."""
    namespaces = dict.fromkeys((book.namespace, book.params.platform.device_plugin.namespace))
    kept = {ref for ref, _ in scope.keep}
    left = [ref for ref, _ in k8s.created(book.cluster, KINDS, namespaces) if ref not in kept]
    book.check("nothing that this runbook created is left but what was to stay", not left, _names(left))
    pods, nodes = crowd.count(book)
    book.check("nothing of the crowd is left", not (pods or nodes), f"{pods} pods, {nodes} nodes")
    there = [ref for ref in kept if book.cluster.find(ref)]
    book.check("what was to stay is there", len(there) == len(kept), _names(kept - set(there)))


def _seconds(book: Notebook) -> float:
    """Servers may use their whole grace period."""
    return _SECONDS + book.sizing.shutdown.grace_period_seconds


def _names(refs: Iterable[Ref]) -> str:
    return ", ".join(map(str, refs))
