"""Bigger GPUs or more pods: what the servers' own metrics say.

Two things run out. **Cache**: every token of a running request keeps its keys and values on the GPU; when blocks run
out, requests are preempted or wait. Another pod has the same small cache, so each GPU goes on doing work twice: a GPU
with more memory, the model spread over more GPUs (tensor parallelism) or a smaller cache type makes each of them do
more. **Turn**: requests wait while the cache has room, because the batch is full or the GPU computes as fast as it can.
Then another pod brings what is missing, and a bigger cache would stay empty.
"""

from __future__ import annotations

from dataclasses import dataclass

FINE, MORE_PODS, BIGGER_GPU, BOTH = "fine", "more pods", "bigger GPU", "bigger GPU, then more pods"
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
    """The worst of some minutes, for each server of a namespace.

    Attributes:
        name: of the namespace.
        waiting: requests in the queue.
        cache: share of the KV cache that was used.
        preemptions: a minute.
        cache_tokens: that the cache holds; longest: tokens that one request may have.
    """

    name: str
    waiting: float
    cache: float
    preemptions: float
    cache_tokens: float
    longest: int


@dataclass(frozen=True)
class Advice:
    """What to do, and why."""

    what: str
    why: str


def advise(point: Point, limits: Limits) -> Advice:
    """What a measured point says."""
    if point.cache_tokens < point.longest:
        return Advice(
            BIGGER_GPU,
            f"one request of {point.longest:,} tokens doesn't fit into a cache of {point.cache_tokens:,.0f}: no number "
            "of pods helps",
        )
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
