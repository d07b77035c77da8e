"""Programs that a step may use when they are there, such as kubectl: found, never fetched."""

from __future__ import annotations

import shutil
from importlib.metadata import entry_points
from pathlib import Path

#: Packages may have programs of their own: an entry point is a function from a program's name to its path, or None.
GROUP = "vllm_runbook.tools"


def find(name: str) -> Path | None:
    """The program on PATH; else the first that a package has; else None."""
    if found := shutil.which(name):
        return Path(found)
    for entry in entry_points(group=GROUP):
        path: Path | None = entry.load()(name)
        if path is not None:
            return path
    return None
