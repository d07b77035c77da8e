"""The collector waits while much is read, and is as it was afterwards."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator

import pytest

from vllm_runbook.cluster.collector import collector_waits, decoded

TEXT = json.dumps([{"metadata": {"name": str(number)}} for number in range(20_000)]).encode()


@pytest.fixture
def collections() -> Iterator[list[str]]:
    """One entry for each run of the collector."""
    seen: list[str] = []

    def note(phase: str, info: dict[str, int]) -> None:
        seen.append(phase)

    gc.callbacks.append(note)
    yield seen
    gc.callbacks.remove(note)


def test_nothing_is_collected_meanwhile(collections: list[str]) -> None:
    json.loads(TEXT)
    assert collections, "this text is too short to tell"
    gc.collect()
    collections.clear()
    with collector_waits():
        found = decoded(TEXT)
        during = len(collections)
    assert found == json.loads(TEXT)
    assert during == 0 and gc.isenabled()


def test_it_waits_while_json_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json, "loads", lambda text: gc.isenabled())
    assert decoded(b"") is False and gc.isenabled()


def test_a_function_may_ask_for_it_and_call_others_that_do() -> None:
    @collector_waits()
    def within() -> list[bool]:
        return [gc.isenabled(), not decoded(b"0") and gc.isenabled()]

    assert within() == within() == [False, False] and gc.isenabled()


def test_it_is_on_again_after_an_error() -> None:
    with pytest.raises(ValueError, match="Expecting"):
        decoded(b"{")
    assert gc.isenabled()


def test_where_it_was_off_it_stays_off() -> None:
    gc.disable()
    try:
        assert decoded(b"[1]") == [1]
        assert not gc.isenabled()
    finally:
        gc.enable()
