"""The story on the tests' sandbox, through the command line."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from conftest import Cluster
from vllm_runbook.permissions import TITLES

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


def undocumented(figures: Iterable[str]) -> list[str]:
    """Figures of a run that no name in docs/figures.md stands for; there, capitals stand for a part of a name."""
    page = (ROOT / "docs" / "figures.md").read_text()
    cells = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    patterns = [_pattern(name) for cell in cells for name in re.findall("`([^`]+)`", cell)]
    return [name for name in figures if not any(re.fullmatch(pattern, name) for pattern in patterns)]


def _pattern(documented: str) -> str:
    notebooks = "|".join(name.partition("_")[2] for name in TITLES)
    words = {"*": ".+", "GROUP": ".+", "NOTEBOOK": f"(?:{notebooks})"}
    parts = re.findall(r"[A-Z]+|\*|[^A-Z*]+", documented)
    return "".join(words.get(part, "[^.]+" if part.isupper() else re.escape(part)) for part in parts)


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
