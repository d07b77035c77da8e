"""How long the kubelet waits before it tries a container again."""

from __future__ import annotations

INITIAL_S = 10.0
MAXIMUM_S = 300.0
HEALTHY_S = 600.0  # a container that ran this long starts over with no delay


class BackOff:
    """Delays 0, 10, 20, 40 … 300 s, as the kubelet's crash loop and image pull back-off.

    Source: Kubernetes documentation, "Pod lifecycle", container restarts. The first restart is
    immediate; the delay doubles with each one after it.
    """

    def __init__(self, first_s: float = 0.0) -> None:
        self._first_s = first_s
        self._next_s = first_s

    def next_delay(self, ran_s: float = 0.0) -> float:
        """Seconds to wait now, after a run of ``ran_s`` seconds."""
        if ran_s >= HEALTHY_S:
            self._next_s = self._first_s
        delay = self._next_s
        self._next_s = INITIAL_S if delay == 0 else min(delay * 2, MAXIMUM_S)
        return delay
