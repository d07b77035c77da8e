"""Bigger GPUs or more pods: what the servers' own metrics say.

Two things run out. **Cache**: every token of a running request keeps its keys and values on the GPU; when blocks run
out, requests are preempted or wait. Another pod has the same small cache, so each GPU goes on doing work twice: a GPU
with more memory, the model spread over more GPUs (tensor parallelism) or a smaller cache type makes each of them do
more. **Turn**: requests wait while the cache has room, because the batch is full or the GPU computes as fast as it can.
Then another pod brings what is missing, and a bigger cache would stay empty.

Both are of one moment: a queue at noon and a full cache at twenty past don't add up to requests that wait for cache. So
moments are judged one by one, and the worst of them counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

FINE, MORE_PODS, BIGGER_GPU, BOTH = "fine", "more pods", "bigger GPU", "bigger GPU, then more pods"
#: From nothing to do, over what the autoscaler does by itself and what has to be bought, to needing both.
_ORDER = (FINE, MORE_PODS, BIGGER_GPU, BOTH)
#: Below this share of the threshold a cache counts as idle; between, nothing is proven.
_IDLE = 0.75


@dataclass(frozen=True)
class Limits:
    """From when on something counts: the alerts' thresholds.

    Attributes:
        waiting: requests in the queue for each server.
        cache: share of the KV cache, 0 to 1.
        preemptions: a minute.
    """

    waiting: float
    cache: float
    preemptions: float

    @property
    def idle(self) -> float:
        """Share of the cache below which it is not what's short."""
        return self.cache * _IDLE


@dataclass(frozen=True)
class Point:
    """One moment of a namespace.

    Attributes:
        name: of the namespace.
        at: when.
        waiting: requests in the queue of each server, on average.
        cache: share of the KV cache that is used, 0 to 1; the servers' average.
        preemptions: a minute, of all servers; averaged over the five minutes before.
    """

    name: str
    at: datetime
    waiting: float
    cache: float
    preemptions: float


@dataclass(frozen=True)
class Advice:
    """What to do, and why."""

    what: str
    why: str


def advise(point: Point, limits: Limits) -> Advice:
    """What one moment says."""
    queued, full = point.waiting >= limits.waiting, point.cache >= limits.cache
    if point.preemptions >= limits.preemptions or (full and queued):
        reason = (
            f"{point.preemptions:.3g} preemptions a minute: the cache is too small for what runs at once"
            if point.preemptions >= limits.preemptions
            else f"requests wait ({point.waiting:.3g} for each server) because {point.cache:.0%} of the cache is taken"
        )
        return Advice(BOTH if queued else BIGGER_GPU, reason)
    if queued and point.cache < limits.idle:
        return Advice(
            MORE_PODS,
            f"{point.waiting:.3g} requests wait for each server while {1 - point.cache:.0%} of the cache is empty: "
            "the batch or the GPU's time is what's short",
        )
    if queued:
        return Advice(
            MORE_PODS,
            f"{point.waiting:.3g} requests wait for each server, and {point.cache:.0%} of the cache is taken: pods "
            "come quickly; look again before you buy memory",
        )
    if full:
        return Advice(FINE, f"{point.cache:.0%} of the cache is taken, and nobody waits: there is no reserve")
    return Advice(FINE, f"{point.waiting:.3g} requests wait for each server, {point.cache:.0%} of the cache is taken")


def worst(moments: Iterable[Point], limits: Limits) -> Point:
    """The moment to go by.

    The advice decides first (:data:`_ORDER`). Need of memory comes before need of turns, for each pod that the
    autoscaler adds has the same small cache; need of both comes before either. Of moments with the same advice, one
    with a full cache is worse than one without; then counts how many times its threshold the queue or the preemptions
    reach, whichever is more, and last how full the cache is. Of equals it is the first.

    Raises:
        ValueError: there are no moments.
    """

    def badness(point: Point) -> tuple[int, bool, float, float]:
        times = max(point.waiting / limits.waiting, point.preemptions / limits.preemptions)
        return _ORDER.index(advise(point, limits).what), point.cache >= limits.cache, times, point.cache

    return max(moments, key=badness)
