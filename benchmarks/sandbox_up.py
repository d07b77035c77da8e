"""The whole sandbox up, with its programs in the cache, against the time it may take."""

from __future__ import annotations

import statistics

from measuring import Row, stopwatch

from vllm_sandbox import lifecycle
from vllm_sandbox.config import SandboxConfig

TIMES = 3
BUDGET_S = 10


def measure() -> list[Row]:
    found = []
    for _ in range(TIMES):
        with stopwatch() as seconds:
            lifecycle.up("default", SandboxConfig())
        found += seconds
        lifecycle.down("default")
    up = statistics.median(found)
    return [Row("sandbox up, warm", f"{up:.1f} s", "budget", f"{BUDGET_S} s", f"{up / BUDGET_S:.2f}")]
