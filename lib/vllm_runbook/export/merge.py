"""What objects of several platforms have in common, and the least that makes one of them of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..cluster import Object

_ABSENT = object()
#: Lists that Kubernetes' schema merges by a key of their elements; a strategic merge patch changes single elements.
_BY_NAME = {"containers", "initContainers", "env", "volumes"}
#: Those, and others that are merged in a way that such a patch can't replace as a whole.
_MERGED = (
    _BY_NAME
    | {"volumeMounts", "volumeDevices", "ports", "imagePullSecrets", "hostAliases", "secrets"}
    | {
        "topologySpreadConstraints",
        "finalizers",
        "ownerReferences",
        "resourceClaims",
    }
)


def common(values: Sequence[Any]) -> Any:
    """A value as near as possible to all: where they differ, what most have; of equals the first one's."""
    if all(isinstance(value, dict) for value in values):
        return {
            key: common(having)
            for key in _keys(values)
            if len(having := [value[key] for value in values if key in value]) * 2 > len(values)
        }
    if all(map(_named, values)) and len({_names(value) for value in values}) == 1:
        return [common(elements) for elements in zip(*values, strict=True)]
    return most(values)


def most(values: Sequence[Any]) -> Any:
    """The value that occurs most; of equals the first one."""
    texts = [json.dumps(value, sort_keys=True) for value in values]
    return values[texts.index(Counter(texts).most_common(1)[0][0])]


def _keys(values: Iterable[Object]) -> list[str]:
    return list(dict.fromkeys(key for value in values for key in value))


def _named(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) and "name" in each for each in value)


def _names(value: list[Object]) -> tuple[str, ...]:
    return tuple(each["name"] for each in value)


def overlay(base: Any, wanted: Any) -> Any:
    """What a merge that takes null for "remove" needs to make ``wanted`` of ``base`` (Helm's values).

    Both must be mappings; lists are replaced as a whole. Empty where they are equal.
    """
    found = {}
    for key in _keys([base, wanted]):
        old, new = base.get(key, _ABSENT), wanted.get(key, _ABSENT)
        if old == new and type(old) is type(new):
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            found[key] = overlay(old, new)
        else:
            found[key] = None if new is _ABSENT else new
    return found


@dataclass
class Patches:
    """What makes one object of another, for Kustomize.

    Attributes:
        merge: fields of a strategic merge patch.
        operations: of a JSON patch (RFC 6902), for lists that such a merge would only add to.
    """

    merge: Object = field(default_factory=dict)
    operations: list[Object] = field(default_factory=list)


def patches(base: Object, wanted: Object) -> Patches:
    """The least patches that make ``wanted`` of ``base``."""
    found = Patches()
    # what isn't built in has no schema: there a list is always replaced
    builtin = "." not in base["apiVersion"].partition("/")[0] or base["apiVersion"].split("/")[0].endswith(".k8s.io")
    found.merge = _strategic(base, wanted, "", found.operations, builtin)
    return found


def _strategic(base: Object, wanted: Object, path: str, operations: list[Object], builtin: bool) -> Object:
    result: Object = {}
    for key in _keys([base, wanted]):
        old, new = base.get(key, _ABSENT), wanted.get(key, _ABSENT)
        if old == new:
            continue
        where = f"{path}/{key.replace('~', '~0').replace('/', '~1')}"
        if new is _ABSENT:
            result[key] = None
        elif isinstance(old, dict) and isinstance(new, dict):
            if new:
                result[key] = _strategic(old, new, where, operations, builtin)
            else:
                operations.append({"op": "replace", "path": where, "value": new})
        elif builtin and key in _MERGED and isinstance(old, list):
            elements = _elements(key, old, new, where, operations)
            result |= {key: elements} if elements else {}
        else:
            result[key] = new
    # a mapping whose changes are all operations needs no merge
    return {key: value for key, value in result.items() if value != {} or wanted.get(key) == {}}


def _elements(key: str, old: list[Any], new: Any, where: str, operations: list[Object]) -> list[Object]:
    """Changes of single elements, by name; or one operation that replaces the list.

    Kustomize puts the elements of a patch first, so those before a changed one are named, too: the order of a pod's
    variables is part of its template, and another order would replace the pods.
    """
    if key not in _BY_NAME or not _named(old) or not _named(new) or _names(old) != _names(new):
        operations.append({"op": "replace", "path": where, "value": new})
        return []
    found, last = [], 0
    for at, (before, after) in enumerate(zip(old, new, strict=True)):
        change = _strategic(before, after, f"{where}/{at}", operations, builtin=True)
        found.append({"name": after["name"], **change})
        last = at + 1 if change else last
    return found[:last]
