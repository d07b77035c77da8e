"""The marker: the last thing written, so that whoever finds it finds a complete, verified model."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vllm_runbook.prefetch.digests import has_size
from vllm_runbook.prefetch.listing import Listing, RemoteFile, Selection

MARKER = ".runbook-complete.json"
_FORMAT = 1


@dataclass(frozen=True)
class Marker:
    """What a complete target holds."""

    repo: str
    revision: str
    commit: str
    selection: Selection
    files: tuple[RemoteFile, ...]
    finished_at: str

    def sizes_match(self, target: Path) -> bool:
        """Whether all files are still there with their sizes. Reads no contents."""
        return all(has_size(target / file.path, file) for file in self.files)

    @property
    def listing(self) -> Listing:
        return Listing(self.commit, self.files)


def read_marker(target: Path) -> Marker | None:
    """The target's marker; None if there is none or it isn't one of ours.

    Raises:
        OSError: there is one, but it can't be read.
    """
    try:
        data: dict[str, Any] = json.loads((target / MARKER).read_bytes())
        if data["format"] != _FORMAT:
            return None
        chosen = data["selection"]
        return Marker(
            repo=data["repo"],
            revision=data["revision"],
            commit=data["commit"],
            selection=Selection(tuple(chosen["allow"]), tuple(chosen["ignore"]), chosen["everything"]),
            files=tuple(RemoteFile(**file) for file in data["files"]),
            finished_at=data["finished_at"],
        )
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError):
        return None  # cut short or foreign: as good as none, the files are then checked one by one


def write_marker(target: Path, repo: str, revision: str, selection: Selection, listing: Listing) -> None:
    """Write the marker in one step: a crash leaves either none or a whole one.

    Raises:
        OSError: it can't be written.
    """
    data = {
        "format": _FORMAT,
        "repo": repo,
        "revision": revision,
        "commit": listing.commit,
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "bytes": listing.bytes,
        "selection": asdict(selection),
        "files": [asdict(file) for file in listing.files],
    }
    temporary = target / (MARKER + ".tmp")
    with temporary.open("w") as file:
        json.dump(data, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(target / MARKER)
    sync_directory(target)


def remove_marker(target: Path) -> None:
    """Remove the marker before the first file changes."""
    (target / MARKER).unlink(missing_ok=True)
    sync_directory(target)


def sync_directory(directory: Path) -> None:
    """Make renames and removals in the directory survive a crash of the node."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
