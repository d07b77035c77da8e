"""The index: generated from what the notebooks say of themselves, which is what the README says of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vllm_runbook import choice, params
from vllm_runbook.lab.index import Index
from vllm_runbook.runner.selection import sources
from vllm_runbook.steps import overview
from vllm_runbook.steps.overview import State

ROOT = Path(__file__).parents[3]
SOURCES = sources(ROOT / "notebooks")


def test_the_notebooks_lines_are_the_readme_s() -> None:
    table = re.findall(r"\| \[\d\d [^]]+\]\(notebooks/(\w+\.ipynb)\) \| (.+) \|", (ROOT / "README.md").read_text())
    assert table == [(source.file.name, source.summary) for source in SOURCES]


def test_every_parameters_cell_has_the_defaults_that_the_panel_stands_for() -> None:
    for source in SOURCES:
        assert source.parameters["platform"] == choice.PLATFORM, source.name
        assert source.parameters["model"] == choice.MODEL, source.name
        assert source.parameters["overrides"] == {}, source.name


def test_every_step_has_a_state() -> None:
    assert set(overview._CHECKS) == {source.name for source in SOURCES}


def test_the_table_links_all_in_order_and_tells_states_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    index = Index(ROOT / "notebooks")
    states = {SOURCES[0].name: State(overview.HOLDS, "<it> fits")}
    page = index.table(states)
    assert re.findall(r'href="(\w+\.ipynb)"', page) == [source.file.name for source in SOURCES]
    assert "<b>✓ holds</b><br>&lt;it&gt; fits" in page and "<code>nvidia.com/gpu</code>" in page


def test_the_panel_offers_what_there_are_files_of_and_keeps_what_is_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("JPY_PARENT_PID", str(choice.psutil.Process().pid))
    index = Index(ROOT / "notebooks")
    drawn: list[str] = []
    index.draw = drawn.append
    assert list(index.platform.options) == params.names("platform")
    index.platform.value, index.dry_run.value = "gke", True
    assert choice.read() == index.chosen == choice.Choice("gke", choice.MODEL, True)
    assert "<b>gke</b>" in index.told.value and "preview every change" in index.told.value
    assert "platform.kubernetes.context" in drawn[-1], "a cluster that isn't there is told below the table"
    assert Index(ROOT / "notebooks").chosen == index.chosen
