"""Complete answers whose first token came late are counted, whatever else they are."""

from __future__ import annotations

from typing import Any

import pytest

from vllm_runbook.load.answer import AnswerStream
from vllm_runbook.load.client import Attempt, Timing
from vllm_runbook.load.outcomes import Kind, Outcome, dropped
from vllm_runbook.load.tally import Tally


def attempt(ttft: float, outcome: Outcome | None = None) -> Attempt:
    timing = Timing(began=10.0)
    timing.chunks(1, 10.0 + ttft)
    answer = AnswerStream()
    answer.completion_tokens = 1
    return Attempt(outcome or Outcome(Kind.COMPLETE, status=200), answer, timing)


@pytest.mark.parametrize(("limit", "late"), [(None, 0), (0.5, 2), (5.0, 0)])
def test_late_answers_are_complete_ones_above_the_limit(limit: float | None, late: int) -> None:
    tally = Tally(limit)
    for each in (attempt(0.1), attempt(0.6), attempt(3.0), attempt(9.0, dropped("truncated", 200))):
        tally.sent()
        tally.ended(each)
    result: dict[str, Any] = tally.result(interrupted=False)
    assert (result["sent"], result["complete"], result["dropped"], result["late"]) == (4, 3, 1, late)
