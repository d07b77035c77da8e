"""What the measuring steps share: a median of a few runs, and programs that may not fail."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from ..cluster import Program
from ..errors import RunbookError


def medians_ms(
    ways: Mapping[str, Callable[[], Any]], times: int, after: Callable[[str, Any], None] = lambda key, result: None
) -> dict[str, float]:
    """The median time of each way in milliseconds.

    They take turns, so that a machine that gets busier meets all of them alike. The first round warms up and isn't
    counted, nor is ``after``, which gets each result: it isn't kept, for a large heap makes Python slower.
    """
    found: dict[str, list[float]] = {key: [] for key in ways}
    for _ in range(times + 1):
        for key, do in ways.items():
            began = time.perf_counter()
            result = do()
            found[key].append((time.perf_counter() - began) * 1000)
            after(key, result)
            del result
    return {key: statistics.median(each[1:]) for key, each in found.items()}


def must(program: Program, *arguments: str, stdin: str = "") -> str:
    """Standard output of a program that has to succeed.

    Raises:
        RunbookError: with what it wrote to standard error.
    """
    done = program.run(*arguments, stdin=stdin)
    if done.returncode:
        name = program.command[0].rpartition("/")[2]
        raise RunbookError(f"{name} {' '.join(arguments)}: exit code {done.returncode}", why=done.stderr.strip())
    return done.stdout
