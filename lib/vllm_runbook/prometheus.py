"""Asking Prometheus, through the API server's service proxy: no port-forward, and nothing of it needs to be exposed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import tenacity

from .cluster import ApiError, Cluster, ServiceProxy, TimedOut
from .errors import RunbookError
from .params import Platform

Point = tuple[datetime, float]


@dataclass(frozen=True)
class Series:
    """One series of an answer: its labels, and points of time and value (one point for an instant query)."""

    labels: dict[str, str]
    points: tuple[Point, ...]

    @property
    def value(self) -> float:
        """The newest value."""
        return self.points[-1][1]


class Prometheus:
    """One Prometheus server."""

    def __init__(self, cluster: Cluster, platform: Platform) -> None:
        metrics = platform.metrics
        self.address = metrics.server_address
        self._proxy = ServiceProxy(cluster, metrics.namespace, metrics.service, metrics.port)

    def query(self, expression: str, at: datetime | None = None) -> list[Series]:
        """An instant query; with a range selector (``name[60s]``) every raw sample with its own time.

        Raises:
            RunbookError: Prometheus can't be reached, or doesn't accept the expression.
        """
        data = self._get("query", query=expression, time=at.timestamp() if at else None)
        if data["resultType"] == "scalar":
            return [Series({}, (_point(data["result"]),))]
        return [_series(item) for item in data["result"]]

    def range(self, expression: str, start: datetime, end: datetime, step_seconds: float) -> list[Series]:
        """A range query: values at ``start``, ``start`` + step, … up to ``end``.

        Raises:
            RunbookError: as :meth:`query`.
        """
        times = {"start": start.timestamp(), "end": end.timestamp(), "step": step_seconds}
        return [_series(item) for item in self._get("query_range", query=expression, **times)["result"]]

    def targets(self) -> list[dict[str, Any]]:
        """What is scraped: labels, ``health`` (up, down, unknown), ``lastError`` of every active target."""
        return list(self._get("targets", state="active")["activeTargets"])

    def rules(self) -> list[dict[str, Any]]:
        """Rule groups that are loaded: ``name``, and ``rules`` with ``name``, ``health`` (ok, err, unknown), ``state``.

        Raises:
            RunbookError: as :meth:`query`; a front end of a managed one may not tell them.
        """
        return list(self._get("rules")["groups"])

    def until(
        self, what: str, reached: Callable[[], bool], *, seconds: float, every: float, explain: Callable[[], str]
    ) -> None:
        """Ask again and again until ``reached``: Prometheus has no watch, and knows nothing new between two scrapes.

        Args:
            every: seconds between two questions; a scrape interval, or a part of it.

        Raises:
            TimedOut: with what ``explain`` says.
        """
        tries = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda answer: not answer),
            wait=tenacity.wait_fixed(every),
            stop=tenacity.stop_after_delay(seconds),
        )
        try:
            tries(reached)
        except tenacity.RetryError:
            raise TimedOut(f"{what}: not within {seconds:g} s", why=explain()) from None

    def _get(self, path: str, **query: Any) -> Any:
        try:
            answer = self._proxy.json(f"api/v1/{path}", **query)
        except ApiError as error:
            if error.code == 503 or error.reason == "NotFound":  # none of its pods is ready, or no such Service
                raise RunbookError(
                    f"Prometheus at {self.address} does not answer",
                    why=error.message,
                    next_step="Is it running (notebook 05), and do metrics.service and metrics.port name it?",
                ) from error
            raise RunbookError(
                "Prometheus refused a query", why=f"{query.get('query', path)}: {error.message}"
            ) from error
        return answer["data"]


def _series(item: dict[str, Any]) -> Series:
    points = item["values"] if "values" in item else [item["value"]]
    return Series(item["metric"], tuple(map(_point, points)))


def _point(pair: Any) -> Point:
    at, value = pair
    return datetime.fromtimestamp(float(at), UTC), float(value)
