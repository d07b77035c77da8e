"""Drills: one thing broken on purpose, found and mended by a trainee, judged by the state of the cluster.

>>> drills.start(book, "bad-flag"); drills.check(book).solved; drills.reset(book)    # doctest: +SKIP
"""

from .catalogue import DRILLS, named
from .drill import Drill
from .panel import table, walk
from .run import CHECK_SECONDS, Outcome, check, hint, reset, running, start
from .solving import apply, commands

__all__ = [
    "CHECK_SECONDS",
    "DRILLS",
    "Drill",
    "Outcome",
    "apply",
    "check",
    "commands",
    "hint",
    "named",
    "reset",
    "running",
    "start",
    "table",
    "walk",
]
