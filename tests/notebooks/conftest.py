"""The story on the tests' sandbox, through the command line."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from conftest import Cluster

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Done:
    """A finished ``runbook run``."""

    code: int
    out: str
    err: str
    directory: Path

    @property
    def summary(self) -> dict[str, Any]:
        return dict(json.loads((self.directory / "summary.json").read_text()))

    def verdict(self, notebook: str) -> str:
        """The verdict's text in the executed notebook."""
        cells = json.loads((self.directory / f"{notebook}.ipynb").read_text())["cells"]
        return verdict_of(cells)


def verdict_of(cells: list[dict[str, Any]]) -> str:
    (cell,) = (cell for cell in cells if "verdict" in cell["metadata"].get("tags", []))
    return "".join("".join(output["text"]) for output in cell["outputs"])


Runbook = Callable[..., Done]


def command(runs: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "runbook_cli.main", "run", "--runs-dir", str(runs), *arguments]


def run_notebooks(directory: Path, *arguments: str, environment: dict[str, str] | None = None) -> Done:
    """``runbook run`` in the repository; its runs are kept in ``directory``."""
    env = {name: value for name, value in os.environ.items() if name not in ("KUBECONFIG", "HF_TOKEN")}
    env |= environment or {}
    runs = directory / "runs"
    done = subprocess.run(command(runs, *arguments), cwd=ROOT, env=env, capture_output=True, text=True, timeout=1500)
    return Done(done.returncode, done.stdout, done.stderr, runs / "latest")


@pytest.fixture
def runbook(sandbox: Cluster, tmp_path: Path) -> Runbook:
    """``runbook("--from", "03")`` on the tests' sandbox."""
    return functools.partial(run_notebooks, tmp_path)
