"""The router's own metrics. ``model`` is the base model's name: an adapter's requests count as its base's."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

#: In ``model`` for names that nobody serves: what clients make up must not become series.
UNKNOWN = "(unknown)"
_HOLDS = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1200)


class Metrics:
    """Counts of one router. Series of every model are there from the start, so that no query meets an empty answer."""

    def __init__(self, models: Iterable[str]) -> None:
        self._registry = own = CollectorRegistry()
        name = "vllm_runbook_router"
        self.pending = Gauge(
            f"{name}_pending_requests",
            "Requests held because no server of the model is ready.",
            ["model"],
            registry=own,
        )
        self.active = Gauge(f"{name}_active_requests", "Requests passed on and not yet ended.", ["model"], registry=own)
        self.received = Counter(
            f"{name}_received", "Requests for the model, whatever their end.", ["model"], registry=own
        )
        self.answers = Counter(f"{name}_answers", "Answers by HTTP status.", ["model", "code"], registry=own)
        self.held = Histogram(
            f"{name}_hold_seconds", "How long requests were held.", ["model"], buckets=_HOLDS, registry=own
        )
        for model in models:
            for each in (self.pending, self.active, self.received, self.held):
                each.labels(model)

    def render(self) -> bytes:
        """The page in Prometheus' text format."""
        return bytes(generate_latest(self._registry))
