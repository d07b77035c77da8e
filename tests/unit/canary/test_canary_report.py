"""What a version that is rolled back may have cost: its share of what was sent in each step, and no more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from vllm_runbook.steps import canary_report
from vllm_runbook.steps.canary_gates import Decision, Window
from vllm_runbook.steps.canary_walk import PROMOTED, ROLLED_BACK, Step

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def trial(seconds: int, marks: list[tuple[float, str]], affected: int = 0) -> Any:
    """100 requests a second, with marks at these seconds."""
    samples = [{"second": second, "sent": 100} for second in range(1, seconds + 1)]
    counts = {"sent": 100 * seconds, "dropped": affected, "rejected": 0}
    report = SimpleNamespace(began=BEGAN, samples=samples, total=counts.__getitem__, result={"late": 0})
    return SimpleNamespace(marks=[(BEGAN + timedelta(seconds=at), words) for at, words in marks], report=report)


def walk(*weights: int, outcome: str = ROLLED_BACK) -> Any:
    steps = [Step(weight, 10, Window(), Window(), Decision(())) for weight in weights]
    return SimpleNamespace(steps=steps, outcome=outcome)


def test_the_share_is_of_what_was_sent_in_the_step_and_not_of_the_whole_load() -> None:
    marks = [(10, "5 %"), (20, "rolled back")]
    assert canary_report.share_of(walk(5), trial(100, marks)) == 71  # 50 of 1000, and 3 x 6.9


def test_each_step_has_its_own() -> None:
    marks = [(10, "5 %"), (20, "50 %"), (24, "rolled back")]
    assert canary_report.share_of(walk(5, 50), trial(60, marks)) == 50 + 200 + 37


def test_a_second_that_a_step_began_or_ended_in_counts_whole() -> None:
    marks = [(10.5, "100 %"), (12.5, "promotion"), (30, "stable again")]
    assert canary_report.share_of(walk(100), trial(60, marks)) == 300


@pytest.mark.parametrize(("affected", "ok"), [(60, True), (150, False)])
def test_a_gateway_that_gives_three_times_the_share_is_found_out(
    monkeypatch: pytest.MonkeyPatch, affected: int, ok: bool
) -> None:
    """15 % of the step's 1000 requests are no more than 5 % of the load's 10,000."""
    checks: dict[str, bool] = {}
    figures: dict[str, Any] = {}
    book = SimpleNamespace(check=lambda words, ok, _: checks.update({words: ok}), figure=figures.__setitem__)
    monkeypatch.setattr(canary_report.experiment, "figures", lambda *_: None)
    canary_report._cost(cast(Any, book), walk(5), trial(100, [(10, "5 %"), (20, "rolled back")], affected))
    assert checks == {"no more requests were touched than the canary's share": ok}
    assert figures["canary.share"] == 71


def test_a_promoted_version_may_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    checks: dict[str, bool] = {}
    book = SimpleNamespace(check=lambda words, ok, _: checks.update({words: ok}), figure=lambda *_: None)
    monkeypatch.setattr(canary_report.experiment, "figures", lambda *_: None)
    canary_report._cost(cast(Any, book), walk(100, outcome=PROMOTED), trial(100, [(10, "100 %")], affected=1))
    assert set(checks.values()) == {False}
