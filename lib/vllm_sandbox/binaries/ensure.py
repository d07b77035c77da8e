"""The chain of providers: cache, PATH, official download, ``go build``."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from vllm_sandbox.binaries import providers
from vllm_sandbox.binaries.providers import Unavailable
from vllm_sandbox.binaries.table import TOOLS, Tool
from vllm_sandbox.errors import SandboxError
from vllm_sandbox.paths import cache_dir

PROVIDERS = ("path", "download", "build")
VARIABLE = "RUNBOOK_BINARIES"


def find(name: str) -> Path | None:
    """The program if it is there already, without fetching anything."""
    tool = TOOLS[name]
    for provider in (providers.from_cache, providers.from_path):
        with contextlib.suppress(Unavailable):
            return provider(tool)
    return None


def cached(name: str) -> Path | None:
    """The program if the cache has it; None for one that no sandbox uses (entry point ``vllm_runbook.tools``)."""
    with contextlib.suppress(KeyError, Unavailable):
        return providers.from_cache(TOOLS[name])
    return None


def ensure(*names: str) -> dict[str, Path]:
    """Paths of the named programs, fetching what isn't there.

    The environment variable RUNBOOK_BINARIES narrows the ways that are tried, for instance to
    ``path,download``.

    Raises:
        SandboxError: a program could not be had; names every way that was tried and why it failed.
    """
    found: dict[str, Path] = {}
    missing: dict[str, list[Tool]] = defaultdict(list)
    for name in names:
        if path := find(name):
            found[name] = path
        else:
            missing[TOOLS[name].family].append(TOOLS[name])
    for family, tools in missing.items():
        with _lock(family):
            found |= _fetch(tools)
    return found


def _fetch(tools: list[Tool]) -> dict[str, Path]:
    """Programs of one family: downloaded where possible, the rest built in one go."""
    allowed = _allowed()
    found: dict[str, Path] = {}
    reasons: dict[str, list[str]] = {tool.name: [] for tool in tools}
    remaining = [
        tool for tool in tools if not _try(providers.from_cache, tool, found, [])
    ]  # another process was faster
    if "download" in allowed:
        remaining = [t for t in remaining if not _try(providers.from_download, t, found, reasons[t.name])]
    if remaining and "build" in allowed:
        try:
            found |= providers.from_build(remaining)
            remaining = []
        except Unavailable as error:
            for tool in remaining:
                reasons[tool.name].append(f"go build: {error}")
    if remaining:
        raise _not_to_be_had(remaining[0], reasons[remaining[0].name], allowed)
    return found


def _try(provider: Callable[[Tool], Path], tool: Tool, found: dict[str, Path], reasons: list[str]) -> bool:
    try:
        found[tool.name] = provider(tool)
    except Unavailable as error:
        reasons.append(f"{provider.__name__.removeprefix('from_')}: {error}")
        return False
    return True


def _allowed() -> tuple[str, ...]:
    chosen = tuple(word.strip() for word in os.environ.get(VARIABLE, ",".join(PROVIDERS)).split(",") if word.strip())
    if unknown := set(chosen) - set(PROVIDERS):
        raise SandboxError(
            f"{VARIABLE} names {', '.join(sorted(unknown))}", why=f"allowed are {', '.join(PROVIDERS)}, with commas"
        )
    return chosen


def _not_to_be_had(tool: Tool, reasons: list[str], allowed: tuple[str, ...]) -> SandboxError:
    try:
        providers.from_path(tool)
    except Unavailable as error:
        reasons = [f"PATH: {error}", *reasons]
    return SandboxError(
        f"{tool.name} {tool.version} could not be had (tried: cache, {', '.join(allowed)})",
        why="\n".join(reasons),
        next_step=(
            f"put {tool.name} {tool.version} on PATH, or allow the download of its official release, "
            f"or install Go (1.26 or newer) so that it can be built; {VARIABLE} chooses among path, download, build"
        ),
    )


@contextlib.contextmanager
def _lock(family: str) -> Iterator[None]:
    """One process at a time fetches a family; the others wait and then find it in the cache."""
    base = cache_dir() / "bin"
    base.mkdir(parents=True, exist_ok=True)
    with (base / f".{family}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
