"""Notebooks 00 to 04: from nothing to a streamed answer, and again when everything is there."""

from __future__ import annotations

import tempfile

from measuring import Row, runbook, sandbox, stopwatch


def measure() -> list[Row]:
    with sandbox(), tempfile.TemporaryDirectory() as runs:
        with stopwatch() as first:
            runbook("run", "--to", "04", "--runs-dir", runs)
        with stopwatch() as second:
            runbook("run", "--to", "04", "--runs-dir", runs)
    ratio = f"{second[0] / first[0]:.2f}"
    return [Row("notebooks 00 to 04 again", f"{second[0]:.1f} s", "the first time", f"{first[0]:.1f} s", ratio)]
