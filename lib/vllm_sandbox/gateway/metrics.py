"""What the gateway counts, per route and backend, as a Prometheus page."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_WHERE = ("route", "backend")


class GatewayMetrics:
    """Counts since the start. ``backend`` is a Service by ``namespace/name``, empty where none was chosen."""

    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        self._requests = Counter("gateway_requests", "Requests that ended, by code.", [*_WHERE, "code"], registry=own)
        self._broken = Counter("gateway_streams_broken", "Answers cut off.", [*_WHERE, "reason"], registry=own)
        names = {"gateway_request_duration_seconds": "Whole answers.", "gateway_first_byte_seconds": "Until the body."}
        self._seconds, self._first = (
            Histogram(name, words, _WHERE, buckets=_BUCKETS, registry=own) for name, words in names.items()
        )
        self._in_flight = Gauge("gateway_requests_in_flight", "Requests under way.", _WHERE, registry=own)

    def begun(self, route: str, backend: str) -> None:
        """A backend was chosen for a request."""
        self._in_flight.labels(route, backend).inc()

    def first_byte(self, route: str, backend: str, seconds: float) -> None:
        """The first piece of an answer's body came."""
        self._first.labels(route, backend).observe(seconds)

    def broken(self, route: str, backend: str, reason: str) -> None:
        """An answer began and couldn't be finished: ``backend`` closed, ``timeout``, or the ``client`` left."""
        self._broken.labels(route, backend, reason).inc()

    def ended(self, route: str, backend: str, code: int, seconds: float) -> None:
        """A request is over. Code 499 is a client that left before the answer began, as in nginx."""
        self._requests.labels(route, backend, str(code)).inc()
        if backend:
            self._seconds.labels(route, backend).observe(seconds)
            self._in_flight.labels(route, backend).dec()

    def render(self) -> bytes:
        """The page in Prometheus' text format."""
        return bytes(generate_latest(self.registry))
