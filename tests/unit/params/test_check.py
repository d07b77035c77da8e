"""runbook params check: each file for itself, every problem with its line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vllm_runbook import files
from vllm_runbook.params.check import found, problems

ROOT = Path(__file__).parents[3]


def run(*arguments: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "runbook_cli.main", "params", "check", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60)


def put(directory: Path, name: str, text: str) -> Path:
    file = directory / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_all_of_ours_are_valid() -> None:
    assert set(found()) == set((ROOT / "params").rglob("*.yaml")) and problems(found()) == []


def test_every_problem_of_every_file_is_told(tmp_path: Path) -> None:
    platform = (ROOT / "params" / "platforms" / "eks.yaml").read_text()
    model = (ROOT / "params" / "models" / "tiny.yaml").read_text()
    typo = put(tmp_path, "platforms/typo.yaml", platform.replace("\nnamespace:", "\nnamespaec:"))
    value = put(tmp_path, "models/value.yaml", model.replace("\nmax_model_len: ", "\nmax_model_len: many # "))
    broken = put(tmp_path, "models/broken.yaml", "a: [")
    astray = put(tmp_path, "astray.yaml", "a: 1")
    done = run(typo, value, broken, astray)
    assert done.returncode == 1 and done.stdout == ""
    line = (
        platform.splitlines().index(next(text for text in platform.splitlines() if text.startswith("namespace:"))) + 1
    )
    assert f"{typo}:{line}: platform.namespaec" in done.stderr and "Did you mean 'namespace'?" in done.stderr
    assert "model.max_model_len = 'many'" in done.stderr and "allowed: integer" in done.stderr
    assert f"{broken}: (whole file): not valid YAML" in done.stderr
    assert f"{astray}: (whole file): must lie in one of platforms, models, registry, golden" in done.stderr


def test_without_names_the_users_files_and_those_behind_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = put(tmp_path, "params/platforms/eks.yaml", "title: 1")
    (tmp_path / files.STAMP).touch()
    monkeypatch.chdir(tmp_path)
    chosen = found()
    assert mine in chosen and ROOT / "params/platforms/eks.yaml" not in chosen
    assert ROOT / "params/platforms/gke.yaml" in chosen
    assert run(cwd=tmp_path).returncode == 1
