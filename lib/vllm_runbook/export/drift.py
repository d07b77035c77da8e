"""Where a cluster differs from a tree: by the API server's own dry run, and with the names of those who changed it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from .. import cluster as k8s
from ..cluster import Cluster, Conflict, Object, Ref, ref_of
from ..steps import claims
from ..tables import Table

SAME, DRIFTED, MISSING = "in sync", "drifted", "missing"
#: Layout of the JSON document; it changes when a field changes its meaning.
VERSION = 1


@dataclass(frozen=True)
class Drift:
    """One object of the tree and what applying it would change in the cluster.

    Attributes:
        state: in sync, drifted, or missing.
        notebook: the one that applies it, by its label; empty without.
        fields: lines as of a plan: ``~ path: now -> in the tree``.
        managers: field managers that own one of the fields.
        note: anything else, such as a namespace or CustomResourceDefinition that isn't there.
    """

    ref: Ref
    state: str
    notebook: str = ""
    fields: tuple[str, ...] = ()
    managers: tuple[str, ...] = ()
    note: str = ""


def drift(cluster: Cluster, items: Iterable[Object]) -> list[Drift]:
    """Compare every object; nothing is changed.

    A dry run as our field manager, taking fields over: what it would change is the drift. What only the cluster has
    isn't any, neither objects nor fields that the tree doesn't mention.

    Raises:
        RunbookError: the server refuses an object for another reason than that it conflicts.
    """
    return [_compared(cluster, item) for item in k8s.in_order(items)]


def _compared(cluster: Cluster, item: Object) -> Drift:
    ref, notebook = ref_of(item), k8s.step_of(item)
    if not cluster.serves(ref.kind, ref.version):
        return Drift(ref, MISSING, notebook, note=f"the cluster has no {ref.kind} ({ref.version})")
    live = cluster.find(ref)
    if live is None:
        return Drift(ref, MISSING, notebook)
    item = k8s.as_managed(item, live)
    if ref.kind == "PersistentVolumeClaim" and claims.shrinks(item, live):
        return _larger(cluster, item, live)
    owners: tuple[str, ...] = ()
    try:
        (change,) = k8s.plan(cluster, [item], notebook, adopt=True).changes
    except Conflict as conflict:
        owners = tuple(sorted({manager for _, manager in conflict.fields}))
        (change,) = k8s.plan(cluster, [item], notebook, adopt=True, force=True).changes
    state = DRIFTED if change.changes else SAME
    return Drift(ref, state, notebook, tuple(map(str, change.fields)), owners, change.note)


def _larger(cluster: Cluster, item: Object, live: Object) -> Drift:
    """A claim that is larger than in the tree: no dry run tells that, for the server refuses to shrink it."""
    sizes = [k8s.get_in(each, claims.REQUEST) for each in (live, item)]
    rest = _compared(cluster, k8s.changed(item, {claims.REQUEST: sizes[0]}))
    words = "a claim can't shrink, so this can't be applied: export with the size that it has"
    return replace(
        rest, state=DRIFTED, fields=(f"~ {claims.REQUEST}: {sizes[0]} -> {sizes[1]}", *rest.fields), note=words
    )


def code(found: Iterable[Drift]) -> int:
    """The exit code: 0 without drift, 1 with."""
    return int(any(each.state != SAME for each in found))


def lines(found: list[Drift]) -> list[str]:
    """What a person reads: objects that differ, then the count."""
    told = []
    for each in found:
        if each.state == SAME:
            continue
        by = f" (by {', '.join(each.managers)})" if each.managers else ""
        told.append(f"{each.state} {each.ref}{by}{': ' + each.note if each.note else ''}")
        told += [f"  {line}" for line in each.fields]
    counts = Counter(each.state for each in found)
    return [*told, ", ".join(f"{counts[state]} {state}" for state in (SAME, DRIFTED, MISSING) if counts[state])]


def document(found: list[Drift]) -> dict[str, Any]:
    """The same for programs."""
    objects = [
        {
            "kind": each.ref.kind,
            "apiVersion": each.ref.version,
            "namespace": each.ref.namespace,
            "name": each.ref.name,
            "notebook": each.notebook,
            "state": each.state,
            "fields": list(each.fields),
            "managers": list(each.managers),
            "note": each.note,
        }
        for each in found
    ]
    return {"version": VERSION, "drift": bool(code(found)), "objects": objects}


def table(found: list[Drift]) -> Table:
    """Objects that differ."""
    rows = [
        (each.state, each.ref, "\n".join(each.fields) or each.note, ", ".join(each.managers))
        for each in found
        if each.state != SAME
    ]
    return Table(("state", "object", "in the cluster -> in the tree", "changed by"), rows or [("", "no drift", "", "")])
