"""The drill that is under way, in a ConfigMap: any process can go on with it, and put everything back."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ..cluster import ApiError, Cluster, Object, Ref
from ..cluster.ownership import marked
from ..errors import RunbookError

NAME = "runbook-drill"


@dataclass(frozen=True)
class Record:
    """What is known of a drill that was begun.

    Attributes:
        before: each touched object as it was, None where there was none; in the order in which they are touched.
        hints: how many were shown.
        solved: when a check passed first.
    """

    drill: str
    started: datetime
    before: tuple[tuple[Ref, Object | None], ...]
    hints: int = 0
    solved: datetime | None = None

    def seconds(self, now: datetime | None = None) -> float:
        """Time since the start: until it was solved, else until now."""
        return ((self.solved or now or datetime.now(UTC)) - self.started).total_seconds()


def find(cluster: Cluster, namespace: str) -> Record | None:
    """The drill of a namespace, if one is under way."""
    item = cluster.find(Ref("ConfigMap", NAME, namespace))
    if item is None or "drill" not in (item.get("data") or {}):
        return None
    data = item["data"]
    before = tuple((Ref(*row["ref"]), row["before"]) for row in json.loads(data["before"]))
    solved = datetime.fromisoformat(data["solved"]) if data.get("solved") else None
    return Record(data["drill"], datetime.fromisoformat(data["started"]), before, int(data["hints"]), solved)


def begin(cluster: Cluster, namespace: str, record: Record, step: str) -> None:
    """Write a new record.

    Raises:
        RunbookError: somebody else has just begun a drill.
    """
    path = cluster.path("ConfigMap", namespace=namespace)
    try:
        cluster.json("POST", path, body=marked(_item(namespace, record), step), doing="Noting the drill")
    except ApiError as error:
        if error.code != 409:
            raise
        raise RunbookError("Another drill has just begun here", next_step="See runbook drill list.") from error


def update(cluster: Cluster, namespace: str, record: Record) -> None:
    """Write what has changed since the beginning."""
    path = cluster.path("ConfigMap", name=NAME, namespace=namespace)
    patch = {"data": _item(namespace, record)["data"]}
    cluster.json("PATCH", path, body=patch, content="application/merge-patch+json", doing="Noting the drill")


def end(cluster: Cluster, namespace: str) -> None:
    """Forget it."""
    cluster.delete(Ref("ConfigMap", NAME, namespace))


def solved_now(record: Record) -> Record:
    """The record of a drill whose check has passed: the first time counts."""
    return record if record.solved else replace(record, solved=datetime.now(UTC))


def _item(namespace: str, record: Record) -> Object:
    rows = [{"ref": [ref.kind, ref.name, ref.namespace, ref.version], "before": was} for ref, was in record.before]
    data = {
        "drill": record.drill,
        "started": record.started.isoformat(),
        "before": json.dumps(rows),
        "hints": str(record.hints),
        "solved": record.solved.isoformat() if record.solved else "",
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": NAME, "namespace": namespace},
        "data": data,
    }
