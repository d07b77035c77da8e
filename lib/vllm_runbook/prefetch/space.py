"""Is there room: asked before the download, and recognised when it runs out meanwhile."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from vllm_runbook.prefetch.outcomes import ExitCode, PrefetchError

_FULL = {
    errno.ENOSPC: "the file system is full",
    errno.EDQUOT: "the quota is used up",
    errno.EFBIG: "the file system or a limit refuses files that large",
}


def gib(count: int) -> str:
    """Bytes for people: GiB, or MiB below a tenth of one."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 / 10 else f"{count / 2**20:.1f} MiB"


def free_bytes(target: Path) -> int:
    """Bytes that an ordinary user can still write there."""
    status = os.statvfs(target)
    return status.f_bavail * status.f_frsize


def check_space(target: Path, total: int, missing: int, capacity: int | None) -> None:
    """Compare ``total`` bytes with the volume's stated capacity and ``missing`` bytes with what is free.

    Raises:
        PrefetchError: NO_SPACE, with what is needed and what there is.
    """
    if capacity is not None and total > capacity:
        raise PrefetchError(
            ExitCode.NO_SPACE,
            f"The model needs {gib(total)} ({total} bytes) and the volume at {target} has a capacity of "
            f"{gib(capacity)} ({capacity} bytes); ask for a larger volume.",
        )
    free = free_bytes(target)
    if missing > free:
        raise PrefetchError(
            ExitCode.NO_SPACE,
            f"{gib(missing)} ({missing} bytes) are still to download and {target} has {gib(free)} ({free} bytes) free; "
            "enlarge the volume or remove other models from it.",
        )


def translate_os_error(error: OSError, target: Path, needed: int) -> PrefetchError:
    """What a failed write means; ``needed`` bytes were still to come when it failed."""
    if error.errno in _FULL:
        return PrefetchError(
            ExitCode.NO_SPACE,
            f"Writing to {target} failed because {_FULL[error.errno]}: {gib(needed)} ({needed} bytes) were still "
            f"needed and {gib(free_bytes(target))} are free; enlarge the volume, then run again: it resumes.",
        )
    return PrefetchError(
        ExitCode.TARGET,
        f"{target} can't be written ({error.strerror or error}: {error.filename or target}); check that the volume is "
        "mounted read-write and belongs to the pod's user (fsGroup).",
    )
