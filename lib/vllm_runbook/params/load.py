"""Parameter files, found, read, overridden and validated, before anything touches a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from ..files import directories
from . import overrides as over
from .errors import ParamsError, Problem, did_you_mean, dotted, findings
from .model import Model
from .platform import Platform

M = TypeVar("M", bound=BaseModel)
KINDS = {"platform": "platforms", "model": "models"}
#: Directory of each kind of file that is found by name: those of a run, and the registries of notebook 13.
FOLDERS = {**KINDS, "registry": "registry"}


@dataclass(frozen=True)
class Params:
    """A platform and a model, ready to use.

    Attributes:
        overrides: what was changed against the files, by full dotted name.
        files: the files that were read, by ``platform`` and ``model``.
    """

    platform: Platform
    model: Model
    overrides: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)

    def replace(self, changes: Mapping[str, Any]) -> Params:
        """The same with further overrides, validated again.

        Raises:
            ParamsError: as :func:`load`.
        """
        found, problems = over.resolve(changes)
        texts = dict.fromkeys(found, "override")
        documents = {kind: getattr(self, kind).model_dump(by_alias=True) for kind in KINDS}
        platform = validate("platform", Platform, documents["platform"], found, texts, problems)
        model = validate("model", Model, documents["model"], found, texts, problems)
        if problems or platform is None or model is None:
            raise ParamsError(problems)
        return Params(platform, model, {**self.overrides, **found}, self.files)


def load(platform: str | Path, model: str | Path, overrides: Mapping[str, Any] | None = None) -> Params:
    """Read a platform and a model, put the overrides in, and validate both.

    Args:
        platform: a name (``eks``: file ``platforms/eks.yaml``) or a path to a YAML file.
        model: likewise, in ``models/``.
        overrides: single values, see :func:`.overrides.resolve`.

    Names are looked up in the directory that the environment variable RUNBOOK_PARAMS names, then as
    :mod:`vllm_runbook.files` says.

    Raises:
        ParamsError: with every problem of both files and all overrides.
    """
    found, problems = over.resolve(overrides or {})
    files: dict[str, Path] = {}
    loaded: dict[str, Any] = {}
    for kind, name, schema in (("platform", platform, Platform), ("model", model, Model)):
        try:
            files[kind] = find(kind, name)
            document, lines = read(files[kind])
        except ParamsError as error:
            problems.extend(error.problems)
            continue
        sources = origins(kind, files[kind], lines) | dict.fromkeys(found, "override")
        loaded[kind] = validate(kind, schema, document, found, sources, problems)
    if problems:
        raise ParamsError(problems)
    return Params(loaded["platform"], loaded["model"], found, files)


def find(kind: str, name: str | Path) -> Path:
    """The file of a platform, model or registry (``kind``), by name or path.

    Raises:
        ParamsError: there is none; names the known ones and the directories searched.
    """
    folder = FOLDERS[kind]
    if isinstance(name, Path) or name.endswith((".yaml", ".yml")) or "/" in name:
        path = Path(name)
        if path.is_file():
            return path
        raise ParamsError([Problem("argument", kind, str(name), "no such file")])
    places = [directory / folder for directory in directories("params")]
    for place in places:
        if (place / f"{name}.yaml").is_file():
            return place / f"{name}.yaml"
    known = names(kind)
    searched = ", ".join(str(place) for place in places)
    allowed = f"one of {', '.join(known)}" if known else f"no parameter files found (searched {searched})"
    raise ParamsError([Problem("argument", kind, name, allowed, did_you_mean(name, known))])


def names(kind: str) -> list[str]:
    """Every platform, model or registry (``kind``) that there is a file of."""
    folder = FOLDERS[kind]
    return sorted({file.stem for directory in directories("params") for file in (directory / folder).glob("*.yaml")})


def read(file: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """A YAML mapping and the line of each of its fields, by dotted name.

    Raises:
        ParamsError: the file isn't YAML or no mapping, or a key occurs twice (YAML would silently take the last).
    """
    text = file.read_text(encoding="utf-8")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ParamsError([Problem(str(file), "(whole file)", None, f"not valid YAML: {error}")]) from error
    if not isinstance(document, dict) or not isinstance(node, yaml.MappingNode):
        raise ParamsError([Problem(str(file), "(whole file)", None, "must be a YAML mapping of fields")])
    lines: dict[str, int] = {}
    twice: list[Problem] = []
    for path, line in _lines(node):
        if path in lines:
            twice.append(Problem(f"{file}:{line}", path, None, f"given twice, first in line {lines[path]}"))
        lines[path] = line
    if twice:
        raise ParamsError(twice)
    return document, lines


def origins(kind: str, file: Path, lines: Mapping[str, int]) -> dict[str, str]:
    """Where each field of a file stands (``file:line``), by its full dotted name; for :func:`validate`."""
    return {kind: str(file)} | {f"{kind}.{path}": f"{file}:{line}" for path, line in lines.items()}


def _lines(node: yaml.Node, prefix: str = "") -> Iterator[tuple[str, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            path = f"{prefix}.{key.value}" if prefix else str(key.value)
            yield path, key.start_mark.line + 1
            yield from _lines(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield f"{prefix}[{index}]", item.start_mark.line + 1
            yield from _lines(item, f"{prefix}[{index}]")


def validate(
    kind: str,
    schema: type[M],
    document: dict[str, Any],
    found: Mapping[str, Any],
    sources: Mapping[str, str],
    problems: list[Problem],
) -> M | None:
    """The validated document; or nothing, and its problems appended."""
    own = {path.split(".", 1)[1]: value for path, value in found.items() if path.startswith(f"{kind}.")}
    try:
        return schema.model_validate(over.apply(document, own))
    except ValidationError as error:
        for item in findings(error, schema):
            name = dotted((kind, *item.location))
            problems.append(Problem(_source(name, sources), name, item.value, item.allowed, item.hint))
        return None


def _source(name: str, sources: Mapping[str, str]) -> str:
    """Where a field comes from: its own line or override, else that of the nearest field around it."""
    while name not in sources and "." in name:
        name = name.rpartition(".")[0]
    return sources.get(name, "parameters")
