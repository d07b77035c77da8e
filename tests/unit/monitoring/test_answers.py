"""The table of what Prometheus says to the dashboards' questions: only numbers are data, and a refusal is no answer."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from unittest.mock import Mock

import pytest

from vllm_runbook import dashboards
from vllm_runbook.errors import RunbookError
from vllm_runbook.prometheus import Series
from vllm_runbook.steps import monitoring, observability

QUERIES = [dashboards.Query("Board", "Panel", name) for name in ("number", "nan", "infinite", "nothing", "one of two")]


def series(*values: float) -> list[Series]:
    return [Series({}, ((datetime(2026, 1, 1, tzinfo=UTC), value),)) for value in values]


ANSWERS = {"number": (0.0,), "nan": (math.nan,), "infinite": (math.inf,), "nothing": (), "one of two": (math.nan, 1.0)}


def test_only_numbers_are_data(monkeypatch: pytest.MonkeyPatch) -> None:
    book, asked = Mock(), Mock()
    asked.query = lambda expression: series(*ANSWERS[expression])
    monkeypatch.setattr(observability, "prometheus", lambda _: asked)
    monkeypatch.setattr(dashboards, "queries", lambda: QUERIES)
    assert monitoring.answers(book).rows == [("Board", "5", "2")]
    assert book.check.call_args.args[1] is True


def test_a_refusal_fails_the_check_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    book, asked = Mock(), Mock()
    asked.query.side_effect = RunbookError("Prometheus refused a query", why="bad: parse error")
    monkeypatch.setattr(observability, "prometheus", lambda _: asked)
    monkeypatch.setattr(dashboards, "queries", lambda: QUERIES[:1])
    monitoring.answers(book)
    assert book.check.call_args.args[1:] == (False, "Board, Panel: bad: parse error")
