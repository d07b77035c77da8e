"""Answers of Prometheus as values, and its refusals as errors."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from vllm_runbook.cluster import ApiError, TimedOut
from vllm_runbook.errors import RunbookError
from vllm_runbook.params import load
from vllm_runbook.prometheus import Prometheus


class Proxy:
    """Stands for the service proxy: one answer, and the questions that came."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.asked = answer, []  # type: ignore[var-annotated]

    def json(self, path: str, **query: Any) -> Any:
        self.asked.append((path, query))
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"data": self.answer}


def asking(answer: Any) -> tuple[Prometheus, Proxy]:
    prometheus = Prometheus(None, load("sandbox", "tiny").platform)  # type: ignore[arg-type]
    proxy = prometheus._proxy = Proxy(answer)  # type: ignore[assignment]
    return prometheus, proxy  # type: ignore[return-value]


def test_a_vector_is_series_with_one_point() -> None:
    item = {"metric": {"pod": "a"}, "value": [1767225600.5, "3"]}
    prometheus, proxy = asking({"resultType": "vector", "result": [item]})
    (series,) = prometheus.query("up")
    assert (series.labels, series.value) == ({"pod": "a"}, 3.0)
    assert series.points[0][0] == datetime(2026, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)
    assert proxy.asked == [("api/v1/query", {"query": "up", "time": None})]


def test_a_scalar_is_one_series_without_labels() -> None:
    prometheus, _ = asking({"resultType": "scalar", "result": [0, "7"]})
    assert [each.value for each in prometheus.query("7")] == [7.0]


def test_a_range_has_its_times_in_seconds() -> None:
    item = {"metric": {}, "values": [[0, "1"], [5, "NaN"]]}
    prometheus, proxy = asking({"resultType": "matrix", "result": [item]})
    start, end = datetime.fromtimestamp(0, UTC), datetime.fromtimestamp(10, UTC)
    assert len(prometheus.range("up", start, end, 5)[0].points) == 2
    assert proxy.asked[0][1] == {"query": "up", "start": 0.0, "end": 10.0, "step": 5}


@pytest.mark.parametrize(
    ("code", "reason", "words"),
    [
        (503, "ServiceUnavailable", "does not answer"),
        (404, "NotFound", "does not answer"),  # the API server's: there is no such Service
        (404, "", "refused a query"),  # of a front end that doesn't know the path
        (400, "", "refused a query"),
    ],
)
def test_refusals_say_what_was_asked_of_whom(code: int, reason: str, words: str) -> None:
    prometheus, _ = asking(ApiError("x", code, {"reason": reason, "message": "no endpoints available"}))
    with pytest.raises(RunbookError, match=words) as caught:
        prometheus.query("up{")
    assert "no endpoints available" in str(caught.value)


def test_waiting_ends_with_the_reasons() -> None:
    prometheus, _ = asking({})
    with pytest.raises(TimedOut, match="it is so: not within 0.2 s") as caught:
        prometheus.until("it is so", lambda: False, seconds=0.2, every=0.05, explain=lambda: "down: refused")
    assert "down: refused" in str(caught.value)
