"""One prefetch at a time per target, across processes, pods and (on shared file systems) nodes."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from vllm_runbook.prefetch.outcomes import ExitCode, PrefetchError

LOCK = ".runbook-prefetch.lock"

_HELD = (errno.EACCES, errno.EAGAIN)


@contextmanager
def exclusive(target: Path) -> Iterator[None]:
    """Hold the target's lock. The kernel (or the file server) frees it when the process ends, however it ends.

    POSIX record locks: unlike flock's, NFS and its relatives pass them on to the server. The file stays, because
    removing it would let two processes lock two different files.

    Raises:
        PrefetchError: LOCKED, somebody else holds it; TARGET, the file system has no locks.
        OSError: the lock file can't be opened.
    """
    path = target / LOCK
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o664)
    with os.fdopen(descriptor, "r+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD:
                raise PrefetchError(
                    ExitCode.LOCKED,
                    f"Another prefetch is filling {target} ({_holder(path)}); let it end, or delete its pod, then run "
                    "again.",
                ) from error
            raise PrefetchError(
                ExitCode.TARGET,
                f"The file system of {target} refuses locks ({error.strerror}); mount it with locks (Lustre: -o "
                "flock), or use --no-lock if nothing else can write there.",
            ) from error
        holder = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        file.truncate()
        json.dump(holder, file)
        file.flush()
        yield


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text())
        return f"host {holder['host']}, process {holder['pid']}, since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "it has not written yet who it is"
