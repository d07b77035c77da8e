"""The directories that hold the volumes' files: one per volume, named by its handle."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

_HANDLE = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_UNFINISHED = ".unfinished"


class Directories:
    """Volumes below one root. Everything here blocks: call it in a thread where trees may be large."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def path(self, handle: str) -> Path:
        """Where a volume's files lie; raises ValueError for a handle that is no plain name."""
        if not _HANDLE.fullmatch(handle):
            raise ValueError(f"volume handle {handle!r} must be lower-case letters, digits, '-' and '.'")
        return self.root / handle

    def exists(self, handle: str) -> bool:
        return self.path(handle).is_dir()

    def create(self, handle: str) -> None:
        """Make an empty volume; does nothing if there is one already."""
        self.path(handle).mkdir(exist_ok=True)
        self.path(handle).chmod(0o777)  # images run as any user, as with fsGroup

    def clone(self, source: str, handle: str) -> None:
        """Copy a volume. It appears under its name when it is complete, so a retry starts afresh."""
        target = self.path(handle)
        if target.exists():
            return
        unfinished = target.with_name(handle + _UNFINISHED)
        remove_tree(unfinished)
        shutil.copytree(self.path(source), unfinished, symlinks=True)
        unfinished.rename(target)

    def remove(self, handle: str) -> None:
        """Delete a volume with all its files; does nothing if it is gone already."""
        remove_tree(self.path(handle))

    def sweep(self) -> None:
        """Delete copies that a killed sandbox left half-made."""
        for leftover in self.root.glob("*" + _UNFINISHED):
            remove_tree(leftover)


def remove_tree(tree: Path) -> None:
    """Delete ``tree`` if it exists, also where a program made directories read-only."""
    if tree.is_symlink() or tree.is_file():
        tree.unlink()
    elif tree.exists():
        tree.chmod(0o700)
        for folder, subfolders, _ in os.walk(tree):
            for name in subfolders:
                subfolder = os.path.join(folder, name)
                if not os.path.islink(subfolder):
                    os.chmod(subfolder, 0o700)
        shutil.rmtree(tree)


def used_bytes(tree: Path) -> int:
    """Bytes in all files of a tree; a file with several names counts once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for folder, _, files in os.walk(tree):
        for name in files:
            try:
                info = os.lstat(os.path.join(folder, name))
            except FileNotFoundError:  # deleted while we look
                continue
            if (info.st_dev, info.st_ino) not in seen:
                seen.add((info.st_dev, info.st_ino))
                total += info.st_size
    return total
