"""Which objects are ours: what we create carries our labels, and nothing else does.

An object that was there before keeps its owner: we never label it, so that no clean-up of ours deletes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..errors import RunbookError
from .client import MANAGER, ApiError, Cluster
from .objects import Object, Ref, changed, in_order, ref_of

MANAGED_BY = "app.kubernetes.io/managed-by"
STEP = "runbook.vllm.dev/step"
OURS = f"{MANAGED_BY}={MANAGER}"


def is_ours(item: Mapping[str, Any]) -> bool:
    """Whether this library created the object."""
    return bool((item["metadata"].get("labels") or {}).get(MANAGED_BY) == MANAGER)


def handed_over(item: Mapping[str, Any]) -> bool:
    """Whether the object came from an export of ours, and belongs to what installed it: Helm puts its own label on."""
    labels = item["metadata"].get("labels") or {}
    return STEP in labels and MANAGED_BY in labels and not is_ours(item)


def as_managed(item: Object, live: Mapping[str, Any]) -> Object:
    """The object with the owner's label that the live one has, if it was handed over."""
    if not handed_over(live):
        return item
    return changed(item, {f"metadata.labels[{MANAGED_BY}]": live["metadata"]["labels"][MANAGED_BY]})


def step_of(item: Mapping[str, Any]) -> str:
    """The step that created an object of ours, or that it was exported from."""
    return str((item["metadata"].get("labels") or {}).get(STEP, ""))


def marked(item: Object, step: str) -> Object:
    """The object with our labels; its pods don't get them."""
    return changed(item, {f"metadata.labels[{MANAGED_BY}]": MANAGER, f"metadata.labels[{STEP}]": step})


def created(
    cluster: Cluster, kinds: Iterable[str], namespaces: Iterable[str], step: str = ""
) -> Iterator[tuple[Ref, str]]:
    """What we created (in one step, or in all): name and uid, metadata only, in the order of creation.

    Cluster-scoped kinds are found once, whatever the namespaces; kinds that the cluster doesn't know are skipped.
    """
    selector = OURS + (f",{STEP}={step}" if step else "")
    found: dict[str, Object] = {}
    for kind in kinds:
        if not cluster.serves(kind):
            continue
        for namespace in namespaces if cluster.namespaced(kind) else ("",):
            try:
                items = list(cluster.list(kind, namespace, labels=selector, metadata_only=True))
            except ApiError as error:
                if error.code == 404:
                    break  # its definition has just gone; discovery tells it a moment later
                raise
            found |= {item["metadata"]["uid"]: item for item in items}
    for item in in_order(found.values()):
        yield ref_of(item), item["metadata"]["uid"]


def release(cluster: Cluster, ref: Ref, manager: str = MANAGER) -> bool:
    """Give up every field that we applied to somebody else's object: fields that only we own vanish.

    Returns whether there was anything to give up. In a dry run the server only tries it.
    """
    item = cluster.find(ref)
    if item is None or manager not in managers(item):
        return False
    meta: Object = {"name": ref.name} | ({"namespace": ref.namespace} if ref.namespace else {})
    nothing = {"apiVersion": ref.version, "kind": ref.kind, "metadata": meta}
    cluster.apply(nothing, manager=manager, dry_run=cluster.dry_run)
    if cluster.dry_run:
        cluster.pending.add(ref)
    return True


def managers(item: Mapping[str, Any]) -> set[str]:
    """Who has applied fields of this object by server-side apply."""
    entries = item["metadata"].get("managedFields", ())
    return {entry["manager"] for entry in entries if entry.get("operation") == "Apply"}


class Conflict(RunbookError):
    """Another field manager owns a field that we want to set.

    Attributes:
        fields: (field, its manager) pairs.
    """

    def __init__(self, ref: Ref, error: ApiError) -> None:
        self.fields = [
            (cause.get("field", "?"), _manager(cause.get("message", "")))
            for cause in error.causes
            if cause.get("reason") == "FieldManagerConflict"
        ]
        owners = sorted({manager for _, manager in self.fields})
        super().__init__(
            f"{ref}: some fields belong to {' and '.join(owners) or 'another manager'}",
            why="\n".join(f"{field} is owned by {manager}" for field, manager in self.fields) or error.message,
            next_step=(
                "Let the other one give the field up, or leave it out here. If this runbook shall own it from now on, "
                "plan with force=True."
            ),
        )


def _manager(message: str) -> str:
    """The name in ``conflict with "kubectl" using apps/v1``."""
    return message.split('"')[1] if message.count('"') >= 2 else message
