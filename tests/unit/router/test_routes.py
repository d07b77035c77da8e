"""The router's table: where a model is served is looked up, not searched for with each request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from vllm_runbook.router.routes import Backend, Card, Routes

from .backends import routes


class Walked(list[Any]):
    """A list that counts how often it is gone through."""

    times = 0

    def __iter__(self) -> Iterator[Any]:
        self.times += 1
        return super().__iter__()


def test_requests_go_through_the_tables_once() -> None:
    table = routes({"base": 1, "other": 2}, adapters={"sql": "base"})
    again = table.model_copy()
    cards, backends = Walked(table.models), Walked(table.backends)
    table.__dict__.update(models=cards, backends=backends)
    found = [table.backend_of(name) for name in ("base", "other", "sql", "nope") * 10]
    assert [backend and backend.name for backend in found[:4]] == ["base", "other", "base", None]
    assert (cards.times, backends.times) == (1, 1)
    assert table == again


def test_a_model_without_its_server_is_refused_with_those_that_there_are() -> None:
    backends = [Backend(name=name, url="http://x", hold_seconds=1) for name in ("b", "a")]
    with pytest.raises(ValidationError, match="model m: backend 'c' is none of b, a"):
        Routes(queue_per_model=1, backends=backends, models=[Card(id="m", backend="c", root="m")])
