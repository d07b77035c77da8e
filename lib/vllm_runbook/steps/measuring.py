"""What the measuring steps share: a median of a few runs, and programs that may not fail."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TypeVar

from ..cluster import Program
from ..errors import RunbookError

T = TypeVar("T")


def median_ms(do: Callable[[], T], times: int) -> tuple[float, T]:
    """The median time in milliseconds, and what the last run returned; one run before warms up and isn't counted."""
    found, kept = [], list[T]()
    for _ in range(times + 1):
        kept.clear()  # so that memory never holds two results, whose objects Python would look through again and again
        began = time.perf_counter()
        kept.append(do())
        found.append((time.perf_counter() - began) * 1000)
    return statistics.median(found[1:]), kept[0]


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
