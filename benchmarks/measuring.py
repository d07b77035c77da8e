"""What the benchmarks share: rows, a sandbox, clocks, and CPU time of processes."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllm_sandbox import binaries, lifecycle, processes
from vllm_sandbox.config import SandboxConfig

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    value: str
    against: str
    other: str
    ratio: str


def machine() -> str:
    """What it was measured on."""
    return f"{os.cpu_count()} CPUs, Python {platform.python_version()}, Linux {platform.release().split('-')[0]}"


@contextlib.contextmanager
def sandbox(**settings: Any) -> Iterator[Path]:
    """A sandbox called default; its kubeconfig."""
    plane = lifecycle.up("default", SandboxConfig(**settings))
    try:
        yield plane.kubeconfig
    finally:
        lifecycle.down("default")


def id_of(kubeconfig: Path) -> str:
    """The sandbox's id, which all of its processes carry."""
    return str(json.loads((kubeconfig.parent / "state.json").read_text())["id"])


@contextlib.contextmanager
def stopwatch() -> Iterator[list[float]]:
    """A list that holds the seconds once the block has ended."""
    seconds: list[float] = []
    began = time.monotonic()
    yield seconds
    seconds.append(time.monotonic() - began)


def runbook(*arguments: str) -> str:
    """The command, in the repository."""
    command = [sys.executable, "-m", "runbook_cli.main", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
    return done.stdout


#: Starts a command, and prints the most memory that it has had at once, in KiB. A process begins with the peak of the
#: one that started it, which therefore has to be a small one.
_PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def runbook_peak_mib(*arguments: str) -> float:
    """The most memory that the command has had at once, in MiB; whatever its exit code."""
    command = [sys.executable, "-m", "runbook_cli.main", *arguments]
    done = subprocess.run([sys.executable, "-c", _PEAK, *command], cwd=ROOT, capture_output=True, text=True, check=True)
    return int(done.stdout) / 1024


def section(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join("| " + " | ".join(row) + " |\n" for row in lines)


def write_section(page: Path, heading: str, text: str) -> None:
    """Put ``text``, which begins with ``heading``, in the place of the page's last section of that heading."""
    before, _, _ = page.read_text(encoding="utf-8").partition(heading)
    page.write_text(f"{before.rstrip()}\n\n{text}", encoding="utf-8")


def kubectl(kubeconfig: Path, *arguments: str, stdin: str | None = None) -> str:
    command = [str(binaries.ensure("kubectl")["kubectl"]), "--kubeconfig", str(kubeconfig), *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True).stdout


def cpu_seconds(sandbox_id: str) -> dict[int, float]:
    """CPU seconds so far of every process of a sandbox."""
    found = {}
    for pid in processes.marked(sandbox_id):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            found[pid] = (int(fields[11]) + int(fields[12])) / _TICKS
    return found
