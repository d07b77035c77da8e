"""Where notebooks, params and manifests come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from vllm_runbook import files
from vllm_runbook.errors import RunbookError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's directory with params only, and the process somewhere else."""
    directory = tmp_path / "mine"
    (directory / "params").mkdir(parents=True)
    (directory / files.STAMP).touch()
    monkeypatch.delenv("RUNBOOK_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    return directory


def test_the_repository_where_nothing_else_is(mine: Path) -> None:
    for kind in files.KINDS:
        assert files.directories(kind) == [ROOT / kind]


def test_the_users_copies_win_and_gaps_fall_through(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mine)
    assert files.directories("params") == [mine / "params", ROOT / "params"]
    assert files.directories("manifests") == [ROOT / "manifests"]
    (mine / "notebooks").mkdir()
    monkeypatch.chdir(mine / "notebooks")
    assert files.directories("params")[0] == mine / "params"


def test_a_directory_that_init_did_not_make_is_not_ours(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (mine / files.STAMP).unlink()
    monkeypatch.chdir(mine)
    assert files.directories("params") == [ROOT / "params"]


def test_variables_name_it_from_anywhere(mine: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RUNBOOK_DIR", str(mine))
    assert files.directories("params")[0] == mine / "params"
    (tmp_path / "more").mkdir()
    monkeypatch.setenv("RUNBOOK_PARAMS", str(tmp_path / "more"))
    assert files.directories("params") == [tmp_path / "more", mine / "params", ROOT / "params"]
    monkeypatch.setenv("RUNBOOK_DIR", str(tmp_path))
    with pytest.raises(RunbookError, match="runbook init didn't make"):
        files.directories("params")


def test_kernels_are_told_whose_params_go_with_the_notebooks(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNBOOK_DIR", "")  # so that it is put back
    assert files.notebooks() == ROOT / "notebooks"
    (mine / "notebooks").mkdir()
    assert files.notebooks(Path("mine/notebooks")) == mine / "notebooks"
    assert files.directories("params")[0] == mine / "params"
