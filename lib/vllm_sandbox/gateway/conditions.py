"""Status conditions: made, and brought up to date without a change where nothing changed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

Object = dict[str, Any]


def condition(kind: str, holds: bool, reason: str, message: str = "") -> Object:
    """A condition, without its time and generation."""
    return {"type": kind, "status": "True" if holds else "False", "reason": reason, "message": message}


def merged(before: Iterable[Object], wanted: Iterable[Object], generation: int) -> list[Object]:
    """The conditions as they are stored: ``lastTransitionTime`` moves only when the status does."""
    there = {each["type"]: each for each in before}
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    found = []
    for each in wanted:
        old = there.get(each["type"], {})
        since = old["lastTransitionTime"] if old.get("status") == each["status"] else now
        found.append({**each, "lastTransitionTime": since, "observedGeneration": generation})
    return found
