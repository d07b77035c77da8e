"""Claims that are there already: they never shrink, and grow only where their StorageClass lets them."""

from __future__ import annotations

from .. import cluster as k8s
from ..cluster import Cluster, Object, Ref
from ..cluster.quantity import parse
from ..errors import RunbookError

REQUEST = "spec.resources.requests.storage"


def kept(wanted: Object, live: Object | None) -> Object:
    """A claim as it can be applied over the live one: with the live one's request, where that has room for it.

    The API server refuses to take a request back. A claim may have more than it asked for: provisioners round up.
    """
    if live is None or grows(wanted, live):
        return wanted
    return k8s.changed(wanted, {REQUEST: k8s.get_in(live, REQUEST)})


def grows(wanted: Object, live: Object) -> bool:
    """Whether a claim would need more than the live one asks for and has."""
    has = [k8s.get_in(live, REQUEST, 0), k8s.get_in(live, "status.capacity.storage", 0)]
    return parse(k8s.get_in(wanted, REQUEST)) > max(map(parse, has))


def shrinks(wanted: Object, live: Object) -> bool:
    """Whether a claim would ask for less than the live one does: the API server refuses that."""
    return parse(k8s.get_in(wanted, REQUEST)) < parse(k8s.get_in(live, REQUEST, 0))


def require_room(cluster: Cluster, wanted: Object, instead: str) -> Object | None:
    """Check that the live claim, if there is one, has room or may grow; returns it.

    Args:
        instead: what to do where it can't, for the error.

    Raises:
        RunbookError: it isn't bound yet, or its StorageClass doesn't allow it to grow.
    """
    ref = k8s.ref_of(wanted)
    live = cluster.find(ref)
    if live is None or not grows(wanted, live) or not (reason := _obstacle(cluster, live)):
        return live
    asked, needed = k8s.get_in(live, REQUEST), k8s.get_in(wanted, REQUEST)
    raise RunbookError(f"{ref} asks for {asked}, {needed} are needed, and it can't grow", why=reason, next_step=instead)


def _obstacle(cluster: Cluster, live: Object) -> str:
    """Why the API server wouldn't let a claim grow; empty where it would."""
    if k8s.get_in(live, "status.phase") != "Bound":
        return "it isn't bound yet: only then may its request change"
    name = k8s.get_in(live, "spec.storageClassName") or ""
    found = cluster.find(Ref("StorageClass", name)) if name else None
    if found is None:
        return f"there is no StorageClass {name}" if name else "it has no StorageClass"
    return "" if found.get("allowVolumeExpansion") else f"StorageClass {name} has no allowVolumeExpansion: true"
