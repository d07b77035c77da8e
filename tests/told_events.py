"""A wait whose events come from the test and not from a cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, cast

import pytest

from vllm_runbook.cluster import Cluster, Selection, waiting
from vllm_runbook.cluster.stream import Events


class Quiet:
    """As much of a cluster as such a wait asks."""

    def require_nothing_pending(self, what: str) -> None: ...


CLUSTER = cast(Cluster, Quiet())


def stream(monkeypatch: pytest.MonkeyPatch) -> Events:
    """What every wait of this test reads; see :func:`put` and :func:`listed`."""
    events = Events(CLUSTER)

    @contextlib.contextmanager
    def watching(*_: Any) -> Iterator[Events]:
        yield events

    monkeypatch.setattr(waiting, "watching", watching)
    return events


def put(events: Events, items: Iterable[dict[str, Any]], kind: str = "ADDED") -> None:
    """An event for each object; whose selection it is of, no wait asks."""
    for item in items:
        events._put(kind, None, item)


def listed(events: Events, *selections: Selection) -> None:
    """All of them have been listed."""
    for selection in selections:
        events._put("SYNCED", selection)
