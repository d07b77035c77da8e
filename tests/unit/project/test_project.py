"""The project's own rules: one list of packages, clean code, layers, small files, nothing of this machine."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
CARD = {"jupyterlab", "papermill", "kubernetes", "ipywidgets", "pyyaml", "nbval", "plotly"}


def tracked(*patterns: str) -> list[Path]:
    names = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in names.splitlines() if (ROOT / name).is_file()]


def test_environment_and_pyproject_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = dict(re.match(r"([\w.-]+)(.*)", item).groups() for item in project["dependencies"])  # type: ignore[union-attr]
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    named = [item for entry in listed for item in (entry["pip"] if isinstance(entry, dict) else [entry])]
    packages = dict(re.match(r"([\w.-]+)(.*)", item).groups() for item in named if re.match(r"\w", item))  # type: ignore[union-attr]
    assert packages.pop("python") == project["requires-python"]
    del packages["pip"]
    assert set(packages) == CARD
    assert packages == {name: declared[name] for name in packages}
    assert "--editable .[dev]" in named


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check"],
        ["ruff", "format", "--check"],
        ["mypy"],
        ["lint-imports"],
    ],
    ids=" ".join,
)
def test_checks_pass(command: list[str]) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / command[0]), *command[1:]], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_files_have_one_subject() -> None:
    long = {
        str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in tracked("lib/*.py", "tests/*.py")
    }
    assert {name: lines for name, lines in long.items() if lines > 400} == {}


def test_nothing_sleeps_where_a_watch_belongs() -> None:
    found = [
        str(file.relative_to(ROOT)) for file in tracked("lib/*.py", "notebooks/*") if "time.sleep(" in file.read_text()
    ]
    assert found == []


def test_no_paths_of_a_machine() -> None:
    pattern = re.compile(r"/(?:root|home|work|Users)/\w")
    texts = tracked("*.py", "*.md", "*.yaml", "*.yml", "*.ipynb", "*.toml", "Makefile")
    found = [str(file.relative_to(ROOT)) for file in texts if pattern.search(file.read_text())]
    assert found == [] or found == ["tests/unit/project/test_project.py"]


def test_the_licence_is_apache() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text()[:200]
