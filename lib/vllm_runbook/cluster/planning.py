"""Plan, then apply: every change is previewed by the server before it is made.

The server's dry run admits, defaults and validates the object and says what it would become, so that the
difference shown is the one that will happen.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import RunbookError
from ..tables import Table
from .client import ApiError, Cluster
from .objects import Object, Ref, in_order, ref_of
from .ownership import MANAGED_BY, Conflict, handed_over, is_ours, marked, step_of
from .stream import Selection
from .waiting import State, is_true, wait

CREATE, UPDATE, REPLACE, UNCHANGED, KEEP = "create", "update", "replace", "unchanged", "keep"
_GONE_SECONDS = 120
_SERVER_FIELDS = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")


@dataclass(frozen=True)
class FieldChange:
    """One field: ``before`` is None where there is none yet, ``after`` where it goes."""

    path: str
    before: Any
    after: Any

    def __str__(self) -> str:
        if self.before is None:
            return f"+ {self.path}: {_short(self.after)}"
        if self.after is None:
            return f"- {self.path}: {_short(self.before)}"
        return f"~ {self.path}: {_short(self.before)} -> {_short(self.after)}"


@dataclass(frozen=True)
class Change:
    """What will happen to one object: create, update, replace (delete and create), unchanged, or keep (not ours)."""

    action: str
    ref: Ref
    desired: Object
    fields: tuple[FieldChange, ...] = ()
    uid: str = ""
    note: str = ""

    @property
    def changes(self) -> bool:
        return self.action in (CREATE, UPDATE, REPLACE)


@dataclass(frozen=True)
class Plan:
    """A previewed set of changes. Shown as a table; nothing has happened yet."""

    changes: tuple[Change, ...]
    force: bool = False

    def __bool__(self) -> bool:
        """Whether anything would change."""
        return any(change.changes for change in self.changes)

    def table(self) -> Table:
        rows = [(change.action, change.ref, _describe(change)) for change in self.changes]
        return Table(("action", "object", "what changes"), rows)

    def __str__(self) -> str:
        return str(self.table())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return self.table()._repr_mimebundle_()


@dataclass
class Applied:
    """What an apply did."""

    changed: list[Ref] = field(default_factory=list)
    unchanged: list[Ref] = field(default_factory=list)


def plan(
    cluster: Cluster,
    items: Iterable[Object],
    step: str,
    *,
    force: bool = False,
    adopt: bool = False,
) -> Plan:
    """Preview the objects, in the order in which they are to be applied.

    Args:
        step: name of the notebook, kept as a label of what it creates, for undo.
        force: take fields over from other managers.
        adopt: change objects that somebody else created (they don't become ours). Namespaces are then
            changed too; otherwise a namespace that is there is used as it is.

    Raises:
        Conflict: another manager owns a field.
        RunbookError: an object is somebody else's, or the server refuses it.
    """
    return Plan(tuple(_change(cluster, item, step, force, adopt) for item in in_order(items)), force)


def _change(cluster: Cluster, item: Object, step: str, force: bool, adopt: bool) -> Change:
    ref = ref_of(item)
    if cluster.dry_run and not cluster.serves(ref.kind, ref.version):
        return Change(
            CREATE, ref, marked(item, step), note=f"not checked by the server yet: it has no {ref.kind} so far"
        )
    live = cluster.find(ref)
    if live is not None and live["metadata"].get("deletionTimestamp"):
        wait_gone(cluster, ref, live["metadata"]["uid"])
        live = None
    if live is None:
        return _creation(cluster, ref, marked(item, step), force)
    if not is_ours(live) and not adopt:
        if ref.kind == "Namespace":
            return Change(KEEP, ref, item, note="was there before: used as it is")
        if handed_over(live):
            return _left_alone(cluster, ref, live, item)
        raise RunbookError(
            f"{ref} exists already, and this runbook did not create it",
            why=f"it lacks our label; created {live['metadata']['creationTimestamp']}",
            next_step="Use another namespace (-p namespace=…), or remove the object if nobody needs it.",
        )
    desired = marked(item, step_of(live) or step) if is_ours(live) else item  # it stays its creator's
    if ref.kind == "Job" and is_true(live, "Failed"):
        return Change(REPLACE, ref, desired, uid=live["metadata"]["uid"], note="it failed: once more")
    try:
        live, after = _previewed(cluster, ref, live, desired, force)
    except ApiError as error:
        if error.code == 422 and ref.kind == "Job" and "immutable" in error.message:
            return Change(REPLACE, ref, desired, uid=live["metadata"]["uid"], note="a Job can't be changed: made anew")
        # what isn't stored (an omitted false or "") can't be shared by two managers: a conflict about nothing
        if error.code != 409 or force or _differing(cluster, ref, live, desired):
            raise _told(ref, error) from error
        return Change(UNCHANGED, ref, desired)
    fields = tuple(_difference(_comparable(live), _comparable(after)))
    return Change(UPDATE if fields else UNCHANGED, ref, desired, fields)


def _left_alone(cluster: Cluster, ref: Ref, live: Object, item: Object) -> Change:
    """An object of an export of ours that somebody else installed: fine as long as it is as we would have it."""
    fields = _differing(cluster, ref, live, item)
    owner = live["metadata"]["labels"][MANAGED_BY]
    if fields:
        raise RunbookError(
            f"{ref} belongs to {owner}, and isn't as this runbook would have it",
            why="\n".join(map(str, fields)),
            next_step=f"Change it by {owner}: export again, and upgrade (docs/gitops.md).",
        )
    return Change(UNCHANGED, ref, item, note=f"belongs to {owner}")


def _differing(cluster: Cluster, ref: Ref, live: Object, item: Object) -> tuple[FieldChange, ...]:
    """What would change if every field were taken over."""
    live, after = _previewed(cluster, ref, live, item, force=True)
    return tuple(_difference(_comparable(live), _comparable(after)))


def _previewed(cluster: Cluster, ref: Ref, live: Object, desired: Object, force: bool) -> tuple[Object, Object]:
    """An object before and after, both of one version: controllers change objects at any moment."""
    while True:
        after = cluster.apply(desired, dry_run=True, force=force)
        if after["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"]:
            return live, after
        live = cluster.get(ref)


def _creation(cluster: Cluster, ref: Ref, desired: Object, force: bool) -> Change:
    if ref.namespace and cluster.find(Ref("Namespace", ref.namespace)) is None:
        return Change(
            CREATE, ref, desired, note=f"not checked by the server yet: namespace {ref.namespace} isn't there"
        )
    try:
        cluster.apply(desired, dry_run=True, force=force)
    except ApiError as error:
        if error.code == 404 and (role := desired.get("roleRef")):
            # who binds a role must have all its rights (or may bind it), so the server looks for it
            words = f"not checked by the server yet: {role['kind']} {role['name']} isn't there"
            return Change(CREATE, ref, desired, note=words)
        raise _told(ref, error) from error
    return Change(CREATE, ref, desired)


def apply(cluster: Cluster, planned: Plan) -> Applied:
    """Make the planned changes, in order, printing one line each. Again, it changes nothing.

    In a dry run the lines say what would happen, and nothing does.

    Raises:
        Conflict: somebody took a field since the plan was made.
        RunbookError: the server refuses an object; those before it are applied.
    """
    done = Applied()
    for change in planned.changes:
        if not change.changes:
            done.unchanged.append(change.ref)
            continue
        if cluster.dry_run:
            cluster.pending.add(change.ref)
            print(f"would {change.action} {change.ref}")
            continue
        if change.action == REPLACE:
            cluster.delete(change.ref, uid=change.uid)
            wait_gone(cluster, change.ref, change.uid)
        try:
            cluster.apply(change.desired, force=planned.force)
        except ApiError as error:
            raise _told(change.ref, error) from error
        done.changed.append(change.ref)
        print(f"{change.action}d {change.ref}")
    if len(done.unchanged) == len(planned.changes):
        count = len(done.unchanged)
        print("nothing to change" + (f": {count} as it should be" if count else ""))
    return done


def delete(cluster: Cluster, targets: Sequence[tuple[Ref, str]], *, seconds: float = _GONE_SECONDS) -> list[Ref]:
    """Delete objects (name, uid) in reverse order, each watched until it is gone. Returns those that were there.

    Deployments next to each other go at once: their pods' grace periods would add up. In a dry run the server tries
    each deletion; none is gone.
    """
    gone = []
    for _, together in itertools.groupby(enumerate(reversed(targets)), _turn):
        begun = [target for _, target in together if _begin_deletion(cluster, *target)]
        for ref, uid in () if cluster.dry_run else begun:
            wait_gone(cluster, ref, uid, seconds=seconds)
            gone.append(ref)
            print(f"deleted {ref}")
    return gone


def _turn(numbered: tuple[int, tuple[Ref, str]]) -> int:
    """The same for neighbours that are deleted at once."""
    number, (ref, _) = numbered
    return -1 if ref.kind == "Deployment" else number


def _begin_deletion(cluster: Cluster, ref: Ref, uid: str) -> bool:
    """Whether it was there."""
    if (item := cluster.find(ref)) is None or item["metadata"]["uid"] != uid:
        return False
    cluster.delete(ref, uid=uid, propagation="Foreground", dry_run=cluster.dry_run)
    if cluster.dry_run:
        cluster.pending.add(ref)
        print(f"would delete {ref}")
    return True


def wait_gone(cluster: Cluster, ref: Ref, uid: str, *, seconds: float = _GONE_SECONDS) -> None:
    """Wait until an object is gone.

    Raises:
        TimedOut: naming the finalizers that hold it.
    """

    def explain(state: State) -> str:
        item = state.only(ref.kind) or {}
        finalizers = item.get("metadata", {}).get("finalizers", [])
        conditions = item.get("status", {}).get("conditions", ())
        texts = [each["message"] for each in conditions if each.get("status") == "True" and each.get("message")]
        return "\n".join([f"held by finalizers: {', '.join(finalizers) or 'none'}", *texts])

    def gone(state: State) -> bool:
        item = state.only(ref.kind)
        return item is None or item["metadata"]["uid"] != uid

    wait(cluster, f"{ref} is gone", [Selection.of(ref)], gone, seconds=seconds, explain=explain)


def _told(ref: Ref, error: ApiError) -> RunbookError:
    if error.code == 409 and any(cause.get("reason") == "FieldManagerConflict" for cause in error.causes):
        return Conflict(ref, error)
    if error.code in (400, 403, 422):
        causes = "\n".join(f"{c.get('field', '')}: {c.get('message', '')}" for c in error.causes) or error.message
        return RunbookError(f"The API server does not accept {ref}", why=causes, next_step=_next(error))
    return error


def _next(error: ApiError) -> str:
    if "PodSecurity" in error.message:
        return "The namespace's Pod Security level forbids this; see the namespace's labels."
    if error.code == 422 and ("immutable" in error.message or "forbidden" in error.message.lower()):
        return "This field can't be changed afterwards. Undo the change, or delete the object: a claim loses its data."
    return ""


def _comparable(item: Object) -> Object:
    meta = {key: value for key, value in item["metadata"].items() if key not in _SERVER_FIELDS}
    result = {key: value for key, value in item.items() if key not in ("status", "metadata", "apiVersion", "kind")}
    if item.get("kind") == "Secret":
        for part in ("data", "stringData"):
            if part in result:
                result[part] = {key: _Hidden(value) for key, value in result[part].items()}
    return {"metadata": meta, **result}


class _Hidden:
    """A secret value: comparable, never shown."""

    def __init__(self, value: str) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hidden) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __str__(self) -> str:
        return "(hidden)"


def _difference(before: Any, after: Any, path: str = "") -> Iterator[FieldChange]:
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            name = f"[{key}]" if "." in key else f".{key}" if path else key
            yield from _difference(before.get(key), after.get(key), f"{path}{name}")
    elif _named(before) and _named(after):
        old, new = ({item["name"]: item for item in items} for items in (before, after))
        for name in [*old, *(name for name in new if name not in old)]:
            yield from _difference(old.get(name), new.get(name), f"{path}[{name}]")
    else:
        yield FieldChange(path, before, after)


def _named(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) and "name" in item for item in value)


def _describe(change: Change) -> str:
    lines = [change.note] if change.note else []
    return "\n".join([*lines, *map(str, change.fields[:20]), *(["…"] if len(change.fields) > 20 else [])])


def _short(value: Any) -> str:
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 120 else text[:117] + "…"
