"""For how long a version has stood still: each server for itself, and only while it is asked something."""

from __future__ import annotations

from vllm_runbook.steps.canary_gates import Pulse
from vllm_runbook.steps.canary_pulse import Watch


def test_a_server_with_requests_and_no_tokens_stands_still() -> None:
    watch = Watch(0)
    assert watch.look({"a": (2, 10)}, 0, 0, 1) == Pulse()
    assert watch.look({"a": (3, 10)}, 0, 0, 5).stalled == 4
    assert watch.look({"a": (3, 11)}, 0, 0, 7).stalled == 0, "a token"
    assert watch.look({"a": (3, 11)}, 0, 0, 9).stalled == 2


def test_one_without_requests_rests() -> None:
    watch = Watch(0)
    for second in range(9):
        assert watch.look({"a": (0, 10)}, 0, 0, second).stalled == 0
    assert watch.look({"a": (1, 10)}, 0, 0, 9).stalled == 1, "since it was last seen at rest"


def test_others_that_go_on_hide_none_that_hangs() -> None:
    watch = Watch(0)
    for second in range(9):
        found = watch.look({"a": (1, second), "b": (1, 5)}, 0, 0, second)
    assert found.stalled == 8
    assert watch.look({"a": (1, 20)}, 0, 0, 9).stalled == 0, "and it is gone"


def test_missing_replicas_count_from_when_all_were_ready() -> None:
    watch = Watch(0)
    assert watch.look({}, 1, 0, 3).missing == 3
    assert watch.look({}, 0, 0, 4).missing == 0
    assert watch.look({}, 2, 7, 9) == Pulse(restarts=7, missing=5)
