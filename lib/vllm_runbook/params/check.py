"""Parameter files checked each for itself, without a cluster: before a commit, or in CI."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel

from ..files import directories
from .errors import ParamsError, Problem
from .golden import FOLDER, Golden
from .load import FOLDERS, origins, read, validate
from .model import Model
from .platform import Platform
from .registry import Registry, unknown_models

_SCHEMAS: dict[str, tuple[str, type[BaseModel]]] = {
    FOLDERS["platform"]: ("platform", Platform),
    FOLDERS["model"]: ("model", Model),
    FOLDERS["registry"]: ("registry", Registry),
    FOLDER: (FOLDER, Golden),
}


def found() -> list[Path]:
    """Every parameter file that a name would lead to."""
    files: dict[str, Path] = {}
    for directory in directories("params"):
        for folder in _SCHEMAS:
            for file in sorted((directory / folder).glob("*.yaml")):
                files.setdefault(f"{folder}/{file.name}", file)
    return list(files.values())


def problems(files: Iterable[Path]) -> list[Problem]:
    """What is wrong with parameter files; their directory (``platforms``, ``models`` …) says which they are."""
    wrong: list[Problem] = []
    for file in files:
        folder = file.resolve().parent.name
        if folder not in _SCHEMAS:
            wrong.append(Problem(str(file), "(whole file)", None, f"must lie in one of {', '.join(_SCHEMAS)}"))
            continue
        kind, schema = _SCHEMAS[folder]
        try:
            document, lines = read(file)
        except ParamsError as error:
            wrong.extend(error.problems)
            continue
        found = validate(kind, schema, document, {}, origins(kind, file, lines), wrong)
        if isinstance(found, Registry):
            wrong.extend(unknown_models(found, origins(kind, file, lines)))
    return wrong
