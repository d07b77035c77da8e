"""Is a file on disk the one that the hub lists?"""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

from vllm_runbook.prefetch.listing import RemoteFile
from vllm_runbook.prefetch.outcomes import Interrupted

_PIECE = 4 * 2**20


def matches(path: Path, file: RemoteFile, stop: threading.Event) -> bool:
    """Whether ``path`` has the listed size and digest: SHA-256, or git's SHA-1 for files outside of LFS.

    Raises:
        Interrupted: ``stop`` was set meanwhile.
        OSError: the file can't be read; but one that isn't there just doesn't match.
    """
    if not has_size(path, file):
        return False
    digest = hashlib.sha256() if file.sha256 else hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE):
            if stop.is_set():
                raise Interrupted
            digest.update(piece)
    return digest.hexdigest() == file.digest


def has_size(path: Path, file: RemoteFile) -> bool:
    """Whether ``path`` is an ordinary file (not a link) of the listed size."""
    return path.is_file() and not path.is_symlink() and path.stat().st_size == file.size
