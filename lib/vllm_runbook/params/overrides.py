"""Single values that replace what the files say: from papermill's -p and -y, or ``runbook run -p``."""

from __future__ import annotations

import shlex
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from .errors import ParamsError, Problem, did_you_mean
from .model import Model
from .platform import Platform

ROOTS: dict[str, type[BaseModel]] = {"platform": Platform, "model": Model}


def from_pairs(pairs: Iterable[str], option: str = "-p") -> dict[str, str]:
    """Overrides from the command line's ``NAME=VALUE``; of a name that is given twice the last one.

    Args:
        option: what the pairs were given to, for the error.

    Raises:
        ParamsError: naming every pair without ``=``.
    """
    parts = [(pair, *pair.partition("=")) for pair in pairs]
    bad = [Problem("argument", option, pair, "a parameter is NAME=VALUE") for pair, _, equals, _ in parts if not equals]
    if bad:
        raise ParamsError(bad)
    return {name: value for _, name, _, value in parts}


def resolve(overrides: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """Overrides by their full dotted names, with text values parsed by the type of their field; and what is wrong.

    Keys may be full (``platform.storage.class``), relative to the platform or model
    (``storage.class``), or any unambiguous tail. Nested mappings (a YAML file of overrides) are
    the same as dotted keys. An empty string means *not given*, so that a notebook's parameters
    cell can list parameters without setting them.

    Wrong are keys that no field has, that several have, and a field set twice. Values are judged
    later, by the schema.
    """
    fields = {path: field for root, model in ROOTS.items() for path, field in field_paths(model, f"{root}.")}
    problems: list[Problem] = []
    found: dict[str, Any] = {}
    for key, value in _flatten(overrides, fields):
        if isinstance(value, str) and not value.strip():
            continue
        matches = _matches(key, fields)
        if len(matches) != 1:
            problems.append(_no_match(key, value, matches, fields))
        elif matches[0] in found:
            problems.append(Problem("override", key, value, f"given twice: another override also sets {matches[0]}"))
        else:
            found[matches[0]] = parse(value, fields[matches[0]].annotation)
    return found, problems


def apply(document: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a document with overrides (dotted, relative to the document) put in."""
    result = dict(document)
    for path, value in overrides.items():
        result = _put(result, path.split("."), value)
    return result


def parse(value: Any, annotation: Any) -> Any:
    """A value for a field of this type: text is read as YAML unless the field holds text.

    Command lines know only text, and papermill turns text that looks like a number into one; both
    are undone here. What can't be read stays as it is, so that validation reports it.
    """
    options = _options(annotation)
    holds_text = any(option is str or typing.get_origin(option) is Literal for option in options)
    if isinstance(value, int) and not isinstance(value, bool) and holds_text and int not in options:
        return str(value)
    if not isinstance(value, str):
        return value
    if type(None) in options and value.strip().lower() in ("null", "none", "~"):
        return None
    if holds_text:
        return value
    if any(typing.get_origin(option) is list for option in options) and not value.lstrip().startswith("["):
        return shlex.split(value)
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        return value
    return _number(parsed) if float in options else parsed


def field_paths(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every field of a model and of the models in it, by its dotted name in YAML.

    Mappings such as labels are leaves: their keys are data, and may contain dots.
    """
    for attribute, field in model.model_fields.items():
        path = f"{prefix}{field.alias or attribute}"
        yield path, field
        for option in _options(field.annotation):
            if isinstance(option, type) and issubclass(option, BaseModel):
                yield from field_paths(option, f"{path}.")


def _options(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of ``A | B``, without the metadata of ``Annotated``."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _options(typing.get_args(annotation)[0])
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return tuple(option for part in typing.get_args(annotation) for option in _options(part))
    return (annotation,)


def _flatten(
    overrides: Mapping[str, Any], fields: Mapping[str, FieldInfo], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    for name, value in overrides.items():
        key = f"{prefix}{name}"
        matches = [key] if key in ROOTS else _matches(key, fields)
        is_node = key in ROOTS or any(_has_inside(match, fields) for match in matches)
        if isinstance(value, Mapping) and is_node:
            yield from _flatten(value, fields, f"{key}.")
        else:
            yield key, value


def _has_inside(path: str, fields: Mapping[str, FieldInfo]) -> bool:
    return any(other.startswith(f"{path}.") for other in fields)


def _matches(key: str, fields: Mapping[str, FieldInfo]) -> list[str]:
    """The fields a key may mean; the closest to the root win, so that ``namespace`` is the workload's."""
    if key in fields:
        return [key]
    relative = [f"{root}.{key}" for root in ROOTS if f"{root}.{key}" in fields]
    return relative or [path for path in fields if path.endswith(f".{key}")]


def _no_match(key: str, value: Any, matches: list[str], fields: Mapping[str, FieldInfo]) -> Problem:
    if matches:
        return Problem("override", key, value, f"ambiguous, it could be {' or '.join(matches)}", "Give the full name.")
    short = {path.split(".", 1)[1]: path for path in fields}
    hint = did_you_mean(key, [*fields, *short]) or did_you_mean(key, {path.rsplit(".", 1)[-1] for path in fields})
    return Problem("override", key, value, "no such parameter in platform or model", hint)


def _put(document: dict[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    head, *rest = path
    if not rest:
        return {**document, head: value}
    inner = document.get(head)
    return {**document, head: _put(inner if isinstance(inner, dict) else {}, rest, value)}


def _number(value: Any) -> Any:
    """YAML 1.1 reads ``1e3`` as text."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value
