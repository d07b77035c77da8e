"""Medians, and programs that must not fail."""

from __future__ import annotations

import sys

import pytest

from vllm_runbook.cluster import Program
from vllm_runbook.errors import RunbookError
from vllm_runbook.steps import measuring


def test_the_median_leaves_the_first_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    durations = iter([100.0, 0.003, 0.001, 0.002])
    monkeypatch.setattr(measuring.time, "perf_counter", lambda: now[0])

    def do() -> float:
        now[0] += (took := next(durations))
        return took

    ms, last = measuring.median_ms(do, 3)
    assert ms == pytest.approx(2) and last == 0.002


def test_a_program_that_fails_is_quoted() -> None:
    program = Program((sys.executable, "-c"))
    assert measuring.must(program, "print(input())", stdin="hello") == "hello\n"
    with pytest.raises(RunbookError) as raised:
        measuring.must(program, "import sys; sys.exit('no such thing')")
    assert "exit code 1" in str(raised.value) and raised.value.why == "no such thing"
