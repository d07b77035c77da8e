"""The drills as a set: documented, explained by notebooks, and with words that can be filled in."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import Formatter

import pytest

from vllm_runbook import doctor, drills, params
from vllm_runbook.drills import solving
from vllm_runbook.drills.record import Record, solved_now
from vllm_runbook.errors import RunbookError
from vllm_runbook.params.load import names

ROOT = Path(__file__).parents[3]
DRILLS = list(drills.DRILLS.values())
FIELDS = set(re.findall(r'^        "(\w+)":', Path(str(solving.__file__)).read_text(), re.M))


def test_there_is_one_for_every_cause_that_the_doctor_must_find() -> None:
    assert len(DRILLS) == 24
    assert set(drills.DRILLS) <= set(doctor.CODES)


@pytest.mark.parametrize("drill", DRILLS, ids=lambda drill: drill.name)
class TestDrill:
    def test_is_explained_by_a_notebook(self, drill: drills.Drill) -> None:
        assert (ROOT / "notebooks" / f"{drill.notebook}.ipynb").is_file()

    def test_is_documented(self, drill: drills.Drill) -> None:
        assert f"| `{drill.name}` |" in (ROOT / "docs" / "drills.md").read_text()

    def test_has_words_that_can_be_filled_in(self, drill: drills.Drill) -> None:
        assert len(drill.hints) == 3 and drill.solution
        for text in (*drill.hints, *drill.solution):
            used = {name for _, name, _, _ in Formatter().parse(text) if name is not None}
            assert used <= FIELDS, text

    def test_does_not_tell_the_cause_at_once(self, drill: drills.Drill) -> None:
        assert drill.name not in drill.symptom


def test_a_typo_is_answered_with_the_name() -> None:
    with pytest.raises(RunbookError, match="Did you mean 'multi-attach'?"):
        drills.named("multi-atach")


def test_only_the_sandbox_allows_them() -> None:
    allowed = [name for name in names("platform") if params.load(name, "tiny").platform.rehearsal.drills]
    assert allowed == ["sandbox"]


def test_the_first_time_that_it_was_solved_counts() -> None:
    began = datetime.now(UTC) - timedelta(seconds=90)
    solved = solved_now(Record("bad-flag", began, ()))
    assert 90 <= solved.seconds() < 95
    assert solved_now(solved) is solved
