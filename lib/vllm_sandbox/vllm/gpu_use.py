"""How busy the server keeps its GPUs; reported to the node agent, whose DCGM exporter (simulated) shows it."""

from __future__ import annotations

import time
from collections.abc import Callable

from vllm_sandbox.vllm.host_memory import report

_PERIOD_S = 1.0


class GpuReporter:
    """Tells the node agent once a second, if anything changed.

    Args:
        busy_seconds: time in which the GPUs computed so far.
        memory_bytes: taken on each of them.
    """

    def __init__(self, busy_seconds: Callable[[], float], memory_bytes: int) -> None:
        self._busy_seconds, self._memory_bytes = busy_seconds, memory_bytes
        self._at, self._before = time.monotonic(), 0.0
        self._told: float | None = None

    async def run(self) -> None:
        """Report until cancelled."""
        await report(self.news, _PERIOD_S)

    def news(self) -> dict[str, object] | None:
        """Share of the time since the last question in which the GPUs computed; None where it is as told before."""
        at, seconds = time.monotonic(), self._busy_seconds()
        share = min(1.0, (seconds - self._before) / max(at - self._at, 1e-3))
        self._at, self._before = at, seconds
        if (share := round(share, 2)) == self._told:
            return None
        self._told = share
        return {"gpu": {"busy": share, "memory_bytes": self._memory_bytes}}
