"""Where the sandbox keeps things: binaries in the user's cache, sandboxes in the user's state."""

from __future__ import annotations

import re
from pathlib import Path

import platformdirs

from vllm_sandbox.errors import SandboxError

_APP = "vllm-runbook"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
SOCKET_LIMIT = 107  # bytes that Linux allows for the path of a Unix socket


def cache_dir() -> Path:
    """Shared by all sandboxes of the user: binaries, hub content. XDG_CACHE_HOME moves it."""
    return platformdirs.user_cache_path(_APP)


def sandboxes_dir() -> Path:
    """One directory per sandbox. XDG_STATE_HOME moves it."""
    return platformdirs.user_state_path(_APP) / "sandboxes"


def sandbox_dir(name: str) -> Path:
    """Directory of one sandbox, which need not exist.

    Raises:
        SandboxError: the name can't be used, or the path is too long for a Unix socket.
    """
    if not _NAME.fullmatch(name):
        raise SandboxError(
            f"{name!r} can't name a sandbox",
            why="a name has up to 32 lower-case letters, digits and dashes, and begins and ends with no dash",
        )
    directory = sandboxes_dir() / name
    if len(str(directory / "egress.sock").encode()) > SOCKET_LIMIT:
        raise SandboxError(
            f"the path {directory} is too long",
            why=f"Unix sockets below it must fit in {SOCKET_LIMIT} bytes",
            next_step="set XDG_STATE_HOME to a shorter directory",
        )
    return directory


def kubeconfigs() -> list[Path]:
    """Kubeconfig files of the user's sandboxes."""
    return sorted(sandboxes_dir().glob("*/kubeconfig"))


def tools_dir() -> Path:
    """tools/, whose go.mod files pin what is built: the repository's, or the copy that a build made (setup.py)."""
    package = Path(__file__).resolve().parent
    shipped = package / "shipped" / "tools"
    return shipped if shipped.is_dir() else package.parents[1] / "tools"
