"""Medians, and programs that must not fail."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from vllm_runbook.cluster import Program
from vllm_runbook.errors import RunbookError
from vllm_runbook.steps import measuring


def test_ways_take_turns_and_the_first_round_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now, order = [0.0], list[str]()
    monkeypatch.setattr(measuring.time, "perf_counter", lambda: now[0])

    def takes(name: str, *seconds: float) -> Callable[[], str]:
        durations = iter(seconds)

        def do() -> str:
            now[0] += next(durations)
            order.append(name)
            return name

        return do

    def after(key: str, result: str) -> None:
        assert key == result
        now[0] += 1000  # isn't counted

    ways = {"a": takes("a", 100, 0.003, 0.001, 0.002), "b": takes("b", 100, 5, 7, 6)}
    assert measuring.medians_ms(ways, 3, after) == pytest.approx({"a": 2, "b": 6000})
    assert "".join(order) == "abababab"


def test_a_program_that_fails_is_quoted() -> None:
    program = Program((sys.executable, "-c"))
    assert measuring.must(program, "print(input())", stdin="hello") == "hello\n"
    with pytest.raises(RunbookError) as raised:
        measuring.must(program, "import sys; sys.exit('no such thing')")
    assert "exit code 1" in str(raised.value) and raised.value.why == "no such thing"
