"""Flat figures and the comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vllm_runbook.runner.figures import comparison, flat
from vllm_runbook.runner.state import Run, Step


def run(**figures: dict[str, Any]) -> Run:
    steps = [Step(name, name, result={"figures": values}) for name, values in figures.items()]
    return Run(Path(), "", {}, steps)


def test_names_without_a_dot_get_their_notebooks() -> None:
    found = flat(run(**{"04_deploy_vllm": {"ttft_seconds": 0.5}, "06_autoscaling": {"scale_up.total_s": 9}}))
    assert found == {"deploy_vllm.ttft_seconds": 0.5, "scale_up.total_s": 9}


def test_the_comparison_has_what_was_measured_on_both() -> None:
    figures = {"outage.naive.sent": 9, "outage.ours.sent": 8, "outage.naive.dropped": 9, "outage.ours.dropped": 0}
    rows = comparison(figures | {"drain.ours.sent": 1, "outage.calm.sent": 3})
    assert rows == [("50 requests per second", "sent", 9, 8), ("", "dropped", 9, 0)]


def test_what_one_of_them_does_not_have_is_a_dash() -> None:
    figures = {"drain.naive.sent": 9, "drain.ours.sent": 9, "drain.ours.ttft_p99_s": 0.5}
    assert comparison(figures)[1:] == [("", "TTFT, p99 (s)", "–", 0.5)]


def test_without_a_rehearsal_there_is_nothing_to_compare() -> None:
    assert comparison({"outage.ours.sent": 8}) == []
