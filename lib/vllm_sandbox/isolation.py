"""Make file trees read-only for one process and its children, without root: Landlock.

A container's read-only volume or read-only root file system is a mount option on a real node.
The sandbox has no mounts, so the kernel's Landlock refuses the writes instead. Two differences
that a program can see: it gets EACCES ("Permission denied") where a read-only mount gives EROFS
("Read-only file system"), and it can't gain privileges through set-user-id programs any more.

What Landlock doesn't cover, it leaves alone: reading, executing, and changes of mode, owner and
times. Source: Linux documentation, userspace-api/landlock.rst.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import logging
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

log = logging.getLogger(__name__)

# System call numbers are the same on every architecture since 5.x.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38

_WRITE_FILE = 1 << 1
_REMOVE_AND_MAKE = sum(1 << bit for bit in range(4, 13))  # REMOVE_DIR … MAKE_SYM
_REFER = 1 << 13  # rename or link into another directory; ABI 2
_TRUNCATE = 1 << 14  # ABI 3

# A container can always write to these: devices, and what /proc lets a process change of itself.
_ALWAYS = (Path("/dev"), Path("/proc"))


class _RulesetAttr(ctypes.Structure):
    _fields_ = (("handled_access_fs", ctypes.c_uint64),)


class _PathBeneathAttr(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _syscall(number: int, *args: object) -> int:
    result = int(_libc.syscall(ctypes.c_long(number), *args))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


@functools.cache
def abi() -> int:
    """Version of the kernel's Landlock interface; 0 where there is none."""
    try:
        return _syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_CREATE_RULESET_VERSION))
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EOPNOTSUPP):
            log.debug("Landlock can't be asked for its version: %s", error)
        return 0


def available() -> bool:
    """Whether this kernel can enforce read-only trees."""
    return abi() >= 1


@functools.cache
def _warn_once() -> None:
    log.warning(
        "this kernel has no Landlock: read-only volumes and read-only root file systems of the sandbox's "
        "containers can be written to. Linux 5.13 or newer with Landlock among its security modules enforces them."
    )


class WriteFence:
    """Everything stays readable; only the allowed trees stay writable.

    Made in the parent, where errors can be reported; entered in the child between fork and exec,
    where hardly anything is safe to do:

        with WriteFence([tmp, volume]) as fence:
            subprocess.Popen(command, preexec_fn=fence.enter)

    Allowed trees add up, so a read-only tree must not lie below an allowed one. On a kernel with
    ABI 1 (Linux before 5.19), a rename between two directories fails with EXDEV even inside an
    allowed tree; programs fall back to copying, as between file systems.

    Raises:
        FileNotFoundError: an allowed path does not exist.
    """

    def __init__(self, allowed: Sequence[Path]) -> None:
        self._fd = -1
        if not available():
            _warn_once()
            return
        self._rights = _WRITE_FILE | _REMOVE_AND_MAKE
        self._rights |= _REFER if abi() >= 2 else 0
        self._rights |= _TRUNCATE if abi() >= 3 else 0
        attr = _RulesetAttr(self._rights)
        self._fd = _syscall(
            _CREATE_RULESET, ctypes.byref(attr), ctypes.c_size_t(ctypes.sizeof(attr)), ctypes.c_uint32(0)
        )
        try:
            for tree in (*_ALWAYS, *allowed):
                self._allow(tree)
        except BaseException:
            self.close()
            raise

    def _allow(self, tree: Path) -> None:
        handle = os.open(tree, os.O_PATH | os.O_CLOEXEC)
        try:
            rights = self._rights
            if not stat.S_ISDIR(os.fstat(handle).st_mode):  # rights on directories are refused for a file
                rights &= _WRITE_FILE | _TRUNCATE
            rule = _PathBeneathAttr(rights, handle)
            _syscall(
                _ADD_RULE,
                ctypes.c_int(self._fd),
                ctypes.c_int(_RULE_PATH_BENEATH),
                ctypes.byref(rule),
                ctypes.c_uint32(0),
            )
        finally:
            os.close(handle)

    def enter(self) -> None:
        """Fence the calling thread and all that it starts, for good. Does nothing without Landlock.

        Two system calls on values prepared before: fit for ``preexec_fn``.
        """
        if self._fd < 0:
            return
        if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
        if _libc.syscall(_RESTRICT_SELF, self._fd, 0) != 0:
            raise OSError(ctypes.get_errno(), "landlock_restrict_self")

    def close(self) -> None:
        """Release the parent's handle; processes inside the fence stay inside."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def restrict_writes(allowed: Sequence[Path]) -> None:
    """Fence this process itself, see `WriteFence`; there is no way back."""
    with WriteFence(allowed) as fence:
        fence.enter()
