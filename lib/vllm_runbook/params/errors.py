"""What is wrong with parameters, told so that the reader can mend it without opening the schema."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

Location = Sequence[str | int]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        source: the file, with its line where known, or ``override`` or ``argument``.
        field: dotted name as it is written in overrides, e.g. ``platform.storage.class``.
        value: what was found; ``None`` where nothing was.
        allowed: what is accepted there.
        hint: a suggestion, or empty.
    """

    source: str
    field: str
    value: Any
    allowed: str
    hint: str = ""

    def __str__(self) -> str:
        found = "" if self.value is None else f" = {self.value!r}"
        hint = f" {self.hint}" if self.hint else ""
        place = self.source if self.source in ("override", "argument") else f"{self.source}:"
        return f"{place} {self.field}{found}: {self.allowed}.{hint}"


class ParamsError(ValueError):
    """Parameters that can't be used. Nothing has been sent to a cluster yet.

    Attributes:
        problems: every problem found, not only the first.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__("\n  ".join([f"the parameters have {count} (nothing was changed):", *map(str, self.problems)]))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``Did you mean 'x'?`` for the closest known word, or an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"Did you mean {close[0]!r}?" if close else ""


def dotted(location: Location) -> str:
    """A pydantic location as one writes it: ``gpu.tolerations[0].key``."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


@dataclass(frozen=True)
class Finding:
    """One pydantic error, in words. ``location`` is where in the document it is."""

    location: tuple[str | int, ...]
    value: Any
    allowed: str
    hint: str = ""


def findings(error: ValidationError, model: type[BaseModel]) -> list[Finding]:
    """All errors of a failed validation of ``model``, each with what would be allowed."""
    root = model.model_json_schema(by_alias=True)
    return [_finding(dict(item), root) for item in error.errors(include_url=False)]


def _finding(item: dict[str, Any], root: dict[str, Any]) -> Finding:
    location = tuple(item["loc"])
    if item["type"] == "extra_forbidden":
        siblings = sorted(_node(root, location[:-1]).get("properties", {}))
        hint = did_you_mean(str(location[-1]), siblings)
        return Finding(location, item["input"], f"unknown field; known here: {', '.join(siblings)}", hint)
    wanted = describe(_node(root, location), root)
    if item["type"] == "missing":
        return Finding(location, None, f"required but not given; allowed: {wanted}")
    if item["type"] == "value_error":  # raised by a validator of ours: its sentence says what is allowed
        value = None if isinstance(item["input"], dict) else item["input"]
        return Finding(location, value, str(item["ctx"]["error"]))
    hint = ""
    if item["type"] == "literal_error" and isinstance(item["input"], str):
        hint = did_you_mean(item["input"], _choices(_node(root, location), root))
    return Finding(location, item["input"], f"allowed: {wanted}", hint)


def _node(root: dict[str, Any], location: Location) -> dict[str, Any]:
    """The JSON schema of a location; empty where the schema says nothing."""
    node = root
    for part in location:
        node = _object(node, root)
        if isinstance(part, int):
            node = node.get("items", {})
        else:
            additional = node.get("additionalProperties")
            node = node.get("properties", {}).get(part, additional if isinstance(additional, dict) else {})
    return _object(node, root)


def _object(node: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """A schema node with its reference followed; of ``X | null`` the X, if it has an inside."""
    if "$ref" in node:
        node = root["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    for option in node.get("anyOf", ()):
        target = _object(option, root)
        if "properties" in target or "items" in target:
            return {**target, "nullable": True}
    return node


def _choices(node: dict[str, Any], root: dict[str, Any]) -> list[str]:
    options = [_object(option, root) for option in node.get("anyOf", (node,))]
    return [str(choice) for option in options for choice in option.get("enum", ())]


def describe(node: dict[str, Any], root: dict[str, Any]) -> str:
    """What a JSON schema node accepts, in a few words: ``integer from 1 to 16``, ``one of a, b``, ``text or null``."""
    if "anyOf" in node:
        return " or ".join(describe(_object(option, root), root) for option in node["anyOf"])
    if "enum" in node:
        return "one of " + ", ".join(map(str, node["enum"]))
    if "const" in node:
        return repr(node["const"])
    kind = str(node.get("type"))
    if kind in ("integer", "number"):
        return kind + _bounds(node)
    if kind == "string":
        # The docstring of a model is a description too, but only leaves are described by theirs.
        return str(node.get("description") or ("text like " + node["pattern"] if "pattern" in node else "text"))
    if kind == "array":
        return f"a list, each item {describe(_object(node.get('items', {}), root), root)}"
    if kind == "object":
        text = f"a mapping with {', '.join(node['properties'])}" if "properties" in node else "a mapping"
        return f"{text}, or null" if node.get("nullable") else text
    return {"boolean": "true or false", "null": "null"}.get(kind, "any value")


def _bounds(node: dict[str, Any]) -> str:
    names = {
        "minimum": "at least",
        "exclusiveMinimum": "greater than",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    limits = [f"{word} {node[name]:g}" for name, word in names.items() if name in node]
    return f", {' and '.join(limits)}" if limits else ""
