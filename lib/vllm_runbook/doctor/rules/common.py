"""What rules share: names of objects, evidence, and which findings are about the same thing."""

from __future__ import annotations

from collections.abc import Mapping

from ...cluster import Object, get_in
from ...tokens import mask
from ..findings import Evidence, Kind
from ..snapshot import owner_of

_LONGEST = 400


def called(item: Object, kind: str = "") -> str:
    """``Kind namespace/name``."""
    meta = item["metadata"]
    place = f"{meta['namespace']}/" if meta.get("namespace") else ""
    return f"{kind or item['kind']} {place}{meta['name']}"


def workload(pod: Object) -> str:
    """The workload that a pod belongs to, as ``Kind namespace/name``."""
    kind, name = owner_of(pod)
    return f"{kind} {pod['metadata']['namespace']}/{name}"


def keys(pod: Object) -> frozenset[str]:
    """The pod and its workload: findings that share one of them are about the same trouble."""
    kind, name = owner_of(pod)
    return frozenset({pod["metadata"]["uid"], f"{kind}/{name}"})


def about(item: Object) -> frozenset[str]:
    """The key of one object that is no pod."""
    return frozenset({f"{item['kind']}/{item['metadata']['name']}"})


def labelled(item: Object, labels: Mapping[str, str]) -> bool:
    """Whether the object, or a workload's template, has all these labels."""
    return labels.items() <= (item["metadata"].get("labels") or {}).items()


def seen(kind: Kind, item: Object, line: str) -> Evidence:
    """Evidence about an object; long lines keep their beginning, and tokens are masked."""
    text = mask(" ".join(line.split()))
    return Evidence(kind, called(item), text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…")


def event(item: Object, found: Object) -> Evidence:
    """An event as evidence."""
    count = get_in(found, "series.count") or found.get("count") or 1
    times = f" (x{count})" if count > 1 else ""
    return seen("event", item, f"{found.get('type', '')} {found.get('reason', '')}{times}: {found.get('message', '')}")
