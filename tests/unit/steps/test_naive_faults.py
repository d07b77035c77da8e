"""Faults: in parts, shown or only looked at, never passed over."""

from __future__ import annotations

from vllm_runbook.steps.naive_faults import FAULTS, Faults


def test_what_was_not_looked_at_is_missing() -> None:
    faults = Faults()
    assert set(faults.missing) == set(FAULTS) and set(faults.missing.values()) == {"not looked at yet"}
    assert faults.table().rows == []


def test_one_part_that_shows_it_is_enough() -> None:
    faults = Faults()
    faults.note(7, "No Prometheus was asked.", part="query", shown=False)
    assert faults.missing[7] == "No Prometheus was asked."
    faults.note(7, "The metric is not there.", part="metric")
    assert 7 not in faults.missing
    ((number, _, words, *_),) = faults.table().rows
    assert (number, words) == ("7", "No Prometheus was asked. The metric is not there.")


def test_a_part_that_is_looked_at_again_replaces_its_words() -> None:
    faults = Faults()
    faults.note(2, "The container ends.")
    faults.note(2, "Nothing fails.", shown=False)
    assert faults.missing[2] == "Nothing fails."


def test_a_table_can_hold_some_of_them() -> None:
    faults = Faults()
    for number in (1, 2, 3):
        faults.note(number, "seen.")
    assert [row[0] for row in faults.table((2, 9)).rows] == ["2"]
