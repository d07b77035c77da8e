"""Whether a version under load is alive: for how long it has stood still, or a replica of it was missing."""

from __future__ import annotations

from collections.abc import Mapping

from .canary_gates import Pulse


class Watch:
    """One step's looks at the canary. Times are seconds of any clock that only goes forward."""

    def __init__(self, began: float) -> None:
        self._moved: dict[str, tuple[float, float]] = {}
        self._complete = began

    def look(self, activity: Mapping[str, tuple[float, float]], missing: int, restarts: int, now: float) -> Pulse:
        """How the canary is.

        Args:
            activity: of each server by pod: requests under way, and what it has done so far (see
                :meth:`.canary_counts.Reading.activity`).
            missing: replicas that it should have and that aren't ready.
            restarts: of its containers.
        """
        for pod, (under_way, done) in activity.items():
            before = self._moved.get(pod)
            if before is None or not under_way or done != before[0]:
                self._moved[pod] = (done, now)
        self._moved = {pod: at for pod, at in self._moved.items() if pod in activity}
        if not missing:
            self._complete = now
        stalled = max((now - at for _, at in self._moved.values()), default=0.0)
        return Pulse(restarts, stalled, now - self._complete)
