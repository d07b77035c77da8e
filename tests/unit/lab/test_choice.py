"""What was chosen in Lab: for kernels of that server, as long as it runs, and only where a person watches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vllm_runbook import choice, notebook
from vllm_runbook.choice import Choice

CHOSEN = Choice("eks", "tiny", dry_run=True)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("JPY_PARENT_PID", str(os.getpid()))
    monkeypatch.delenv("RUNBOOK_DRY_RUN", raising=False)
    return tmp_path / "vllm-runbook" / "lab"


def test_it_is_read_back_by_kernels_of_the_same_server() -> None:
    assert choice.read() is None
    choice.write(CHOSEN)
    assert choice.read() == CHOSEN


def test_other_servers_and_plain_programs_never_see_it(monkeypatch: pytest.MonkeyPatch) -> None:
    choice.write(CHOSEN)
    monkeypatch.setenv("JPY_PARENT_PID", str(os.getppid()))
    assert choice.read() is None
    monkeypatch.delenv("JPY_PARENT_PID")
    assert choice.read() is None


def test_it_ends_with_its_server(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as server:
        monkeypatch.setenv("JPY_PARENT_PID", str(server.pid))
        choice.write(CHOSEN)
        assert choice.read() == CHOSEN
        server.communicate(b"\n")
    assert choice.read() is None
    monkeypatch.setenv("JPY_PARENT_PID", str(os.getpid()))
    choice.write(Choice())
    assert [file.stem for file in state.glob("*.json")] == [str(os.getpid())]


def test_a_later_process_with_the_same_number_is_another_server(state: Path) -> None:
    choice.write(CHOSEN)
    (file,) = state.glob("*.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"server_started": 1.0}))
    assert choice.read() is None


@pytest.mark.parametrize(
    ("watched", "cell", "overrides", "best"),
    [
        (True, Choice(), None, CHOSEN),
        (True, Choice(), {"max_model_len": 1}, Choice(dry_run=True)),
        (True, Choice(model="qwen3-32b"), None, Choice(model="qwen3-32b", dry_run=True)),
        (False, Choice(), None, Choice()),
    ],
)
def test_the_cell_counts_more_and_headless_runs_know_nothing_of_it(
    watched: bool, cell: Choice, overrides: dict[str, int] | None, best: Choice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOK_HEADLESS", "0" if watched else "1")
    choice.write(CHOSEN)
    found, origin = notebook._chosen(cell, overrides)
    assert found == best
    assert bool(origin) is watched
    if watched:
        words = "chosen in the index's panel" if best == CHOSEN else "from the parameters cell"
        assert words in origin[0] and "Dry run (by the index's panel)" in origin[1]


@pytest.mark.parametrize(("told", "dry"), [("1", True), ("0", False), ("", False), ("false", False), ("yes", True)])
def test_the_environment_counts_most(told: str, dry: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNBOOK_HEADLESS", "0")
    choice.write(CHOSEN)
    monkeypatch.setenv("RUNBOOK_DRY_RUN", told)
    assert notebook._chosen(Choice(), None)[0].dry_run is dry
