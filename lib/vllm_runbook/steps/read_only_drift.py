"""What is there against what the notebooks apply, by reading only.

A server-side dry run would show the same (``plan`` does it before each change), but the API server authorizes it as the
write that it rehearses: a nightly look would need the rights to change everything. So the fields that a manifest sets
are compared here, and those that we applied once and that it sets no more are found in ``managedFields``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import InvalidOperation
from typing import Any

from ..cluster import MANAGER, Object, get_in
from ..cluster.ownership import MANAGED_BY, STEP
from ..cluster.quantity import parse

#: Fields of these names hold quantities, which the server writes in its own way (1024Mi becomes 1Gi).
_QUANTITIES = ("limits", "requests", "sizeLimit", "capacity")
#: Ours by marking, in no manifest.
_MARKS = (MANAGED_BY, STEP)


@dataclass(frozen=True)
class Difference:
    """One field.

    Attributes:
        path: as in ``spec.template.spec.containers[vllm].image``.
        wanted, found: None where the field isn't there.
        by: who set it last, as ``managedFields`` tells it; may be empty.
    """

    path: str
    wanted: Any
    found: Any
    by: str = ""

    def __str__(self) -> str:
        words = f"{self.path}: {_short(self.found)}, applied was {_short(self.wanted)}"
        return words + (f" ({self.by})" if self.by else "")


@dataclass(frozen=True)
class _Writer:
    """One entry of managedFields, followed down to a field."""

    name: str
    at: str
    fields: Mapping[str, Any]

    def below(self, key: str) -> _Writer | None:
        inner = self.fields.get(key)
        return None if inner is None else _Writer(self.name, self.at, inner)


@dataclass(frozen=True)
class _Place:
    path: str = ""
    writers: tuple[_Writer, ...] = field(default=())

    def field(self, key: str) -> _Place:
        name = f"[{key}]" if "." in key or "/" in key else f".{key}" if self.path else key
        return _Place(self.path + name, tuple(filter(None, (each.below(f"f:{key}") for each in self.writers))))

    def item(self, label: object, item: Any) -> _Place:
        found: list[_Writer | None] = []
        for each in self.writers:
            keys = [key for key in each.fields if key.startswith("k:") and _is_item(item, json.loads(key[2:]))]
            found += [each.below(keys[0])] if keys else [] if each.fields else [each]
        return _Place(f"{self.path}[{label}]", tuple(filter(None, found)))

    @property
    def by(self) -> str:
        latest = max(self.writers, key=lambda each: each.at, default=None)
        return f"by {latest.name} at {latest.at}" if latest else ""


def differences(wanted: Object, found: Object) -> list[Difference]:
    """Fields of a live object that aren't as the manifest says; fields that it doesn't name are nobody's business."""
    entries = found["metadata"].get("managedFields") or ()
    others = [entry for entry in entries if entry.get("manager") != MANAGER]
    writers = tuple(_Writer(each["manager"], each.get("time", ""), each.get("fieldsV1", {})) for each in others)
    body = {key: value for key, value in wanted.items() if key not in ("apiVersion", "kind", "status")}
    stale = [
        Difference(path, None, get_in(found, path, "set"))
        for entry in entries
        if entry.get("manager") == MANAGER and entry.get("operation") == "Apply" and not entry.get("subresource")
        for path in _not_wanted(entry.get("fieldsV1", {}), body)
    ]
    found_all = [*_compare(body, found, _Place("", writers)), *stale]
    secret = wanted["kind"] == "Secret"
    return [replace(each, wanted="(hidden)", found="(hidden)") for each in found_all] if secret else found_all


def _compare(wanted: Any, found: Any, place: _Place) -> Iterator[Difference]:
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key, value in wanted.items():
            yield from _compare(value, found.get(key), place.field(key))
    elif isinstance(wanted, list) and isinstance(found, list):
        yield from _compare_lists(wanted, found, place)
    elif not _same(wanted, found, place.path):
        yield Difference(place.path, wanted, found, place.by)


def _compare_lists(wanted: list[Any], found: list[Any], place: _Place) -> Iterator[Difference]:
    if _named(wanted) and _named(found):
        there = {item["name"]: item for item in found}
        for item in wanted:
            name = item["name"]
            yield from _compare(item, there.get(name), place.item(name, there.get(name, item)))
    elif len(wanted) != len(found):
        yield Difference(place.path, wanted, found, place.by)
    else:
        for number, (one, other) in enumerate(zip(wanted, found, strict=True)):
            yield from _compare(one, other, place.item(number, other))


def _same(wanted: Any, found: Any, path: str) -> bool:
    if wanted == found:
        return True
    if found is None:
        return wanted in ({}, [], "", None, False, 0)  # the server leaves empty fields out
    if any(f".{name}" in path for name in _QUANTITIES):
        try:
            return parse(wanted) == parse(found)
        except InvalidOperation:
            return False
    return False


def _not_wanted(owned: Mapping[str, Any], wanted: Any, path: str = "") -> Iterator[str]:
    """Paths of fields that we applied once, and that the manifest has no more."""
    for key, inner in owned.items():
        kind, _, name = key.partition(":")
        if kind == "f" and isinstance(wanted, dict) and name not in _MARKS:
            below = f"{path}[{name}]" if "." in name or "/" in name else f"{path}.{name}".lstrip(".")
            if name not in wanted:
                yield from _leaves(inner, below)
            else:
                yield from _not_wanted(inner, wanted[name], below)
        elif kind == "k" and isinstance(wanted, list):
            keys = json.loads(name)
            below = f"{path}[{keys.get('name', name)}]"
            item = next((each for each in wanted if _is_item(each, keys)), None)
            if item is None:
                yield below
            else:
                yield from _not_wanted(inner, item, below)


def _leaves(owned: Mapping[str, Any], path: str) -> Iterator[str]:
    """A field that is gone, or of a mapping that only holds our marks nothing."""
    inner = [key.partition(":")[2] for key in owned if key != "."]
    if not inner or any(name not in _MARKS for name in inner):
        yield path


def _is_item(item: Any, keys: Mapping[str, Any]) -> bool:
    """Whether a list's item has these keys; what a manifest leaves to the defaults (protocol TCP) counts as equal."""
    return isinstance(item, dict) and all(item.get(name, value) == value for name, value in keys.items())


def _named(value: Iterable[Any]) -> bool:
    return all(isinstance(item, dict) and "name" in item for item in value)


def _short(value: Any) -> str:
    text = "not set" if value is None else str(value)
    return text if len(text) <= 80 else text[:77] + "…"
