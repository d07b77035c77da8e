"""Teardown: removes what this runbook created, and nothing else. Weights stay unless told otherwise."""

from __future__ import annotations

from collections.abc import Iterable

from .. import cluster as k8s
from ..cluster import Ref
from ..notebook import Notebook
from ..tables import Table
from . import gpu_nodes

#: Every kind that some notebook creates.
KINDS = (
    "Deployment",
    "Service",
    "DaemonSet",
    "Job",
    "PodDisruptionBudget",
    "ServiceAccount",
    "PersistentVolumeClaim",
    "Secret",
    "Namespace",
)
_SECONDS = 300

Target = tuple[Ref, str]


class Scope:
    """What goes and what stays.

    Attributes:
        remove: objects to delete, in the order of creation.
        keep: objects of ours that stay, each with the reason.
    """

    def __init__(self, remove: list[Target], keep: list[tuple[Ref, str]]) -> None:
        self.remove, self.keep = remove, keep

    def table(self) -> Table:
        rows = [("remove", ref, "") for ref, _ in self.remove] + [("keep", ref, why) for ref, why in self.keep]
        return Table(("action", "object", "why"), rows or [("", "nothing here was created by this runbook", "")])

    def __str__(self) -> str:
        return str(self.table())

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return self.table()._repr_mimebundle_()


def plan(book: Notebook, *, delete_weights: bool = False) -> Scope:
    """What would be removed. Objects that others made, or that were there before, are never in it.

    The copy of the weights that the rehearsal of the usual guide made for itself goes without asking.
    """
    found = list(k8s.created(book.cluster, KINDS, _namespaces(book)))
    if delete_weights:
        return Scope(found, [])
    rehearsal = book.params.platform.naive_namespace
    claims = {ref for ref, _ in found if ref.kind == "PersistentVolumeClaim" and ref.namespace != rehearsal}
    keep = [(ref, "holds weights; delete_weights=True removes it") for ref in sorted(claims)]
    spaces = {
        ref for ref, _ in found if ref.kind == "Namespace" and any(ref.name == claim.namespace for claim in claims)
    }
    keep += [(ref, "its claims would go with it") for ref in sorted(spaces)]
    return Scope([target for target in found if target[0] not in claims | spaces], keep)


def remove(book: Notebook, scope: Scope) -> None:
    """Delete, each object watched until it is gone; then take our label off the nodes."""
    gone = k8s.delete(book.cluster, scope.remove, seconds=_seconds(book))
    released = gpu_nodes.remove_labels(book)
    for ref in released:
        print(f"took our label off {ref}")
    if not gone and not released:
        print("nothing to remove")
    book.result.changed += len(gone) + len(released)


def verify(book: Notebook, scope: Scope) -> None:
    """Look again; note the checks."""
    kept = {ref for ref, _ in scope.keep}
    left = [ref for ref, _ in k8s.created(book.cluster, KINDS, _namespaces(book)) if ref not in kept]
    book.check("nothing that this runbook created is left but what was to stay", not left, _names(left))
    there = [ref for ref in kept if book.cluster.find(ref)]
    book.check("what was to stay is there", len(there) == len(kept), _names(kept - set(there)))


def _namespaces(book: Notebook) -> list[str]:
    """Where this runbook makes objects."""
    platform = book.params.platform
    return list(dict.fromkeys((platform.namespace, platform.naive_namespace, platform.device_plugin.namespace)))


def _seconds(book: Notebook) -> float:
    """Servers may use their whole grace period."""
    return _SECONDS + book.sizing.shutdown.grace_period_seconds


def _names(refs: Iterable[Ref]) -> str:
    return ", ".join(map(str, refs))
