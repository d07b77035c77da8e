"""Which notebooks run, in which order, with which parameters."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import yaml

from ..errors import RunbookError
from ..params import Platform, from_pairs
from ..params.errors import did_you_mean

_NUMBERED = re.compile(r"^(\d+)_\w+$")


@dataclass(frozen=True)
class Source:
    """One notebook file.

    Attributes:
        name: file name without ending, e.g. ``04_deploy_vllm``.
        parameters: what its parameters cell sets, by name.
        summary: what it does, in one line; from its metadata.
        on_request: runs only when it is named, or everything is asked for.
        comes_last: takes away what the others need: after them, whatever its number.
        named_only: training: not even then.
        needs: fields of the platform without which there is nothing to do.
    """

    name: str
    file: Path
    title: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    on_request: bool = False
    comes_last: bool = False
    named_only: bool = False
    needs: tuple[str, ...] = ()
    summary: str = ""
    code_cells: int = 0


def sources(directory: Path) -> list[Source]:
    """Every numbered notebook of a directory, in order.

    Raises:
        RunbookError: there is none.
    """
    found = [_read(file) for file in sorted(directory.glob("*.ipynb")) if _NUMBERED.match(file.stem)]
    if not found:
        raise RunbookError(f"There are no notebooks in {directory}", next_step="Name their directory: --notebooks-dir")
    return found


def _read(file: Path) -> Source:
    book = nbformat.read(file, as_version=4)
    told = book.metadata.get("runbook", {})
    cell = next((cell for cell in book.cells if "parameters" in cell.metadata.get("tags", [])), None)
    heading = next((cell.source.splitlines()[0] for cell in book.cells if cell.cell_type == "markdown"), file.stem)
    return Source(
        name=file.stem,
        file=file,
        title=heading.lstrip("# "),
        parameters=_assignments(cell.source) if cell else {},
        on_request=bool(told.get("on_request")),
        comes_last=bool(told.get("comes_last")),
        named_only=bool(told.get("named_only")),
        needs=tuple(told.get("needs", ())),
        summary=str(told.get("summary", "")),
        code_cells=sum(cell.cell_type == "code" for cell in book.cells),
    )


def _assignments(code: str) -> dict[str, Any]:
    found = {}
    for node in ast.parse(code).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = ast.literal_eval(node.value)
    return found


def select(
    found: Sequence[Source], names: Sequence[str], first: str | None, last: str | None, *, everything: bool = False
) -> list[Source]:
    """The notebooks to run: the named ones, or those from ``first`` to ``last``.

    Args:
        everything: also those that wait for a request (GitOps, teardown).

    Returns them in the order of their numbers, and teardown after all of them.

    Raises:
        RunbookError: no notebook has such a name or number.
    """
    if names:
        wanted = {_one(found, name).name for name in names}
        return _in_order(source for source in found if source.name in wanted)
    begin = found.index(_one(found, first)) if first else 0
    end = found.index(_one(found, last)) if last else len(found) - 1
    asked = [source for source in found[begin : end + 1] if not source.named_only]
    chosen = [source for source in asked if everything or not source.on_request]
    if not chosen:
        raise RunbookError(f"Nothing to run from {first or 'the first'} to {last or 'the last'} notebook")
    return _in_order(chosen)


def _in_order(chosen: Iterable[Source]) -> list[Source]:
    return sorted(chosen, key=lambda source: source.comes_last)


def lacking(source: Source, platform: Platform) -> str:
    """What a platform doesn't have that a notebook needs, in a few words; empty if nothing."""
    there = platform.model_dump(by_alias=True)
    fields = [name for name in source.needs if there.get(name) is None]
    return f"{platform.name} has no {' and no '.join(fields)} (null in its file)" if fields else ""


def _one(found: Sequence[Source], name: str) -> Source:
    """A notebook by its number (4, 04), name or file name."""
    plain = name.removesuffix(".ipynb").rpartition("/")[2]
    for source in found:
        number = source.name.split("_")[0]
        if plain == source.name or (plain.isdigit() and int(plain) == int(number)):
            return source
    names = [source.name for source in found]
    hint = did_you_mean(plain, names)
    raise RunbookError(f"There is no notebook {name}", why=f"there are {', '.join(names)}", next_step=hint)


@dataclass(frozen=True)
class Settings:
    """Parameters of a run: values of notebooks' own parameters, and overrides of the parameter files."""

    own: Mapping[str, Any]
    overrides: Mapping[str, Any]

    def of(self, source: Source) -> dict[str, Any]:
        """What one notebook is given."""
        given = {name: value for name, value in self.own.items() if name in source.parameters}
        if self.overrides and "overrides" in source.parameters:
            given["overrides"] = dict(self.overrides)
        return given

    def value(self, name: str, chosen: Iterable[Source]) -> Any:
        """A parameter's value: given, or the notebooks' default."""
        defaults = (source.parameters[name] for source in chosen if name in source.parameters)
        return self.own.get(name, next(defaults, None))


def settings(found: Sequence[Source], pairs: Sequence[str], file: Path | None) -> Settings:
    """Sort ``NAME=VALUE`` pairs (and a YAML file of them) into notebooks' parameters and overrides.

    Raises:
        ParamsError: a pair without ``=``.
        RunbookError: a file that is no mapping.
    """
    known = {name for source in found for name in source.parameters} - {"overrides"}
    values: dict[str, Any] = {}
    if file is not None:
        document = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        if not isinstance(document, dict):
            raise RunbookError(f"{file} must be a YAML mapping of parameters")
        values |= document
    for name, text in from_pairs(pairs).items():
        values[name] = yaml.safe_load(text) if name in known else text
    overrides = values.pop("overrides", None) or {}
    own = {name: value for name, value in values.items() if name in known}
    return Settings(own, {**overrides, **{name: value for name, value in values.items() if name not in known}})
