"""When requests start: known before the first one is sent."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Schedule:
    """An open loop's arrivals.

    Attributes:
        arrivals: ``fixed``, one every 1/rate seconds; ``poisson``, independent of each other with that mean rate.
        rate: requests per second.
        seconds: no request starts at or after this time.
        seed: for poisson; the same seed gives the same times.
    """

    arrivals: Literal["fixed", "poisson"]
    rate: float
    seconds: float
    seed: int = 0

    def times(self) -> list[float]:
        """Seconds from the start at which requests start, ascending."""
        if self.arrivals == "fixed":
            count = math.ceil(round(self.rate * self.seconds, 9))  # 0.1 × 30 is 3, and not 3.0000000000000004
            return [number / self.rate for number in range(count)]
        source = random.Random(self.seed)
        times: list[float] = []
        now = source.expovariate(self.rate)
        while now < self.seconds:
            times.append(now)
            now += source.expovariate(self.rate)
        return times
