"""What the advice goes by: queue, cache and preemptions of the same moments, as Prometheus answers range queries."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from vllm_runbook import params
from vllm_runbook.advice import MORE_PODS, Limits, Point, advise, worst
from vllm_runbook.prometheus import Prometheus
from vllm_runbook.steps import monitoring

LIMITS = Limits(waiting=5, cache=0.9, preemptions=6)
START, END = datetime.fromtimestamp(0, UTC), datetime.fromtimestamp(1200, UTC)
QUEUE = "namespace:vllm_waiting:sum / namespace:vllm_servers:count"
CACHE = "namespace:vllm_kv_cache_usage:avg"
PREEMPTED = "60 * namespace:vllm_preemptions:rate5m"


class Proxy:
    """Stands for the service proxy: a matrix for each expression, by namespace and time."""

    def __init__(self, answers: dict[str, dict[str, dict[int, str]]]) -> None:
        self._answers = answers

    def json(self, path: str, *, query: str, start: float, end: float, step: float) -> Any:
        assert (path, start, end, step) == ("api/v1/query_range", 0.0, 1200.0, 600)
        series = self._answers.get(query, {}).items()
        result = [{"metric": {"namespace": name}, "values": list(map(list, each.items()))} for name, each in series]
        return {"data": {"resultType": "matrix", "result": result}}


def moments(answers: dict[str, dict[str, dict[int, str]]]) -> dict[str, list[Point]]:
    asked = Prometheus(None, params.load("sandbox", "qwen3-8b").platform)  # type: ignore[arg-type]
    asked._proxy = Proxy(answers)  # type: ignore[assignment]
    return monitoring.moments(asked, START, END, 600)


def at(seconds: int, name: str = "llm", *, waiting: float, cache: float, preemptions: float = 0) -> Point:
    return Point(name, datetime.fromtimestamp(seconds, UTC), waiting, cache, preemptions)


def test_each_moment_has_its_own_queue_and_cache() -> None:
    found = moments(
        {
            QUEUE: {"llm": {0: "40", 600: "0", 1200: "0"}, "naive": {600: "1"}},
            CACHE: {"llm": {0: "0.1", 600: "0.2", 1200: "0.97"}, "naive": {600: "0.5"}},
            PREEMPTED: {"llm": {600: "0", 1200: "3"}},
        }
    )
    queued = at(0, waiting=40, cache=0.1)
    assert found == {
        "llm": [queued, at(600, waiting=0, cache=0.2), at(1200, waiting=0, cache=0.97, preemptions=3)],
        "naive": [at(600, "naive", waiting=1, cache=0.5)],
    }
    assert worst(found["llm"], LIMITS) == queued and advise(queued, LIMITS).what == MORE_PODS


def test_a_moment_that_is_not_known_says_nothing() -> None:
    """A queue without a cache isn't one beside an idle cache; nor is what is not a number."""
    assert moments({QUEUE: {"llm": {0: "40", 600: "NaN"}}, CACHE: {"llm": {600: "0.1", 1200: "0.2"}}}) == {}
    assert moments({}) == {}
