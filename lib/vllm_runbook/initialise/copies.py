"""``runbook init``: a user's own copies of notebooks, params and manifests, and bringing them to a new version.

A stamp in the directory holds a fingerprint of every file as it was copied. So it can be told later, file by file, who
changed it: the user, the new version, or both. A notebook's fingerprint leaves out what running it leaves behind.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .. import files
from ..errors import RunbookError

#: Ending of the new version's file where the user's stays.
NEW = ".new"


class State(StrEnum):
    """How a file of the user stands to what was copied and to what this version brings."""

    MISSING = "new"
    SAME = "unchanged"
    UPDATED = "changed by the new version"
    EDITED = "changed by you"
    BOTH = "changed by you and by the new version"
    FOREIGN = "yours, of the same name"
    DELETED = "deleted by you"
    DROPPED = "not in the new version"
    DROPPED_EDITED = "changed by you, and not in the new version"


#: Overwriting one of these loses something, or changes it unasked.
IN_THE_WAY = (State.UPDATED, State.EDITED, State.BOTH, State.FOREIGN)


@dataclass(frozen=True)
class Stamp:
    """What ``runbook init`` left in a directory: version, and fingerprints by file name."""

    version: str
    files: Mapping[str, str]


def installed() -> str:
    """This package's version."""
    return version("vllm-runbook")


def read_stamp(directory: Path) -> Stamp | None:
    """A directory's stamp; None where there is none.

    Raises:
        RunbookError: the stamp can't be read.
    """
    file = directory / files.STAMP
    if not file.is_file():
        return None
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        return Stamp(document["version"], document["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise RunbookError(
            f"{file} can't be read", why=f"{type(error).__name__}: {error}", next_step="Restore it from git."
        ) from error


def compare(directory: Path) -> dict[str, State]:
    """The state of every file that this version brings or the directory's stamp names.

    Raises:
        RunbookError: the stamp can't be read.
    """
    stamp = read_stamp(directory)
    before = stamp.files if stamp else {}
    return {
        name: _state(_fingerprint(directory / name), before.get(name), _fingerprint(files.original() / name))
        for name in sorted({*_brought(), *before})
    }


def _state(mine: str | None, base: str | None, new: str | None) -> State:
    if new is None:
        return State.DROPPED if mine in (base, None) else State.DROPPED_EDITED
    if mine is None:
        return State.MISSING if base is None else State.DELETED
    if mine == new:
        return State.SAME
    if base is None:
        return State.FOREIGN
    if mine == base:
        return State.UPDATED
    return State.EDITED if new == base else State.BOTH


def copy(directory: Path, *, force: bool = False) -> dict[str, State]:
    """Put a copy of every file into a directory, new or made before; returns how each stood.

    Raises:
        RunbookError: files are in the way (nothing was written), or the directory is the repository.
    """
    _refuse_checkout(directory)
    states = compare(directory)
    different = {name: state for name, state in states.items() if state in IN_THE_WAY}
    if different and not force:
        stamped = (directory / files.STAMP).is_file()
        gentle = "--upgrade keeps what you changed and updates the rest; " if stamped else ""
        raise RunbookError(
            f"{len(different)} files in {directory} differ from those of version {installed()}; nothing was written",
            why="\n".join(f"{name}: {state}" for name, state in different.items()),
            next_step=f"{gentle}--force overwrites them.",
        )
    for name, state in states.items():
        if state not in (State.SAME, State.DROPPED, State.DROPPED_EDITED):
            _put(directory / name, (files.original() / name).read_bytes())
    _write_stamp(directory)
    return states


def upgrade(directory: Path, *, dry_run: bool = False) -> dict[str, State]:
    """Bring a directory to this version without losing what the user changed; returns how each file stood.

    Files that only the new version changed are replaced, those that only the user changed or deleted stay so. Where
    both changed one the user's stays, and the new version's is put beside it with the ending ``.new``. Files that the
    new version dropped go, unless the user changed them.

    Raises:
        RunbookError: ``runbook init`` didn't make the directory, or it is the repository.
    """
    _refuse_checkout(directory)
    stamp = read_stamp(directory)
    if stamp is None:
        raise RunbookError(f"runbook init didn't make {directory}", next_step=f"runbook init {directory}")
    states = compare(directory)
    if dry_run:
        return states
    for name, state in states.items():
        mine, new = directory / name, files.original() / name
        if state in (State.MISSING, State.UPDATED):
            _put(mine, new.read_bytes())
        elif state in (State.BOTH, State.FOREIGN):
            _put(mine.with_name(mine.name + NEW), new.read_bytes())
        elif state is State.DROPPED:
            mine.unlink(missing_ok=True)
    _write_stamp(directory)
    return states


def _brought() -> list[str]:
    """Names of all files that this version brings."""
    root = files.original()
    found = [
        *root.glob("notebooks/[0-9][0-9]_*.ipynb"),
        *root.glob("notebooks/index.ipynb"),
        *root.glob("notebooks/*.cfg"),
        *root.glob("params/*/*.yaml"),
        *root.glob("manifests/**/*.yaml"),
        *root.glob("manifests/**/*.json"),
    ]
    return sorted(file.relative_to(root).as_posix() for file in found)


def _fingerprint(file: Path) -> str | None:
    if not file.is_file():
        return None
    content = file.read_bytes()
    if file.suffix == ".ipynb":
        with contextlib.suppress(ValueError, KeyError, TypeError):  # no notebook any more: its bytes tell that
            content = json.dumps([_kept(cell) for cell in json.loads(content)["cells"]]).encode()
    return hashlib.sha256(content).hexdigest()


def _kept(cell: Mapping[str, Any]) -> list[Any]:
    """What somebody wrote of a cell, and the verdict's text: not what running it leaves."""
    tags = cell["metadata"].get("tags", [])
    outputs = cell.get("outputs", []) if "verdict" in tags else []
    text = "".join("".join(output.get("text", "")) for output in outputs)
    return [cell["cell_type"], "".join(cell["source"]).strip("\n"), tags, text]


def _refuse_checkout(directory: Path) -> None:
    if files.is_checkout(directory):
        raise RunbookError(
            f"{directory} is the repository itself", why="its notebooks, params and manifests can be edited as they are"
        )


def _put(file: Path, content: bytes) -> None:
    """Write a file in one step: an interrupted upgrade leaves no half of one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.part")
    partial.write_bytes(content)
    os.replace(partial, file)


def _write_stamp(directory: Path) -> None:
    """The stamp: what this version brings, whether the user has taken it up or not."""
    prints = {name: _fingerprint(files.original() / name) for name in _brought()}
    document = {"version": installed(), "files": prints}
    _put(directory / files.STAMP, (json.dumps(document, indent=1) + "\n").encode())
