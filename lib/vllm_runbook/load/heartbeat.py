"""How late this process is for its own appointments: latencies that it measures can't be better than that."""

from __future__ import annotations

import asyncio
from array import array
from time import perf_counter

_INTERVAL_S = 0.05


class Heartbeat:
    """Beats at fixed times.

    Attributes:
        lags: seconds between the time of each beat and when it was noticed. A long stall makes all the beats late
            that fell into it, so that the share of late beats is the share of time.
    """

    def __init__(self) -> None:
        self.lags = array("d")

    async def run(self) -> None:
        """Beat until cancelled."""
        due = perf_counter() + _INTERVAL_S
        while True:
            await asyncio.sleep(due - perf_counter())
            now = perf_counter()
            while due <= now:
                self.lags.append(now - due)
                due += _INTERVAL_S
