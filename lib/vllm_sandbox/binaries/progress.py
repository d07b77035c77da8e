"""Progress of a long step: a bar for a person, a line every few seconds for a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from tqdm import tqdm

PLAIN_EVERY_S = 15.0


class Progress:
    """Counts up to ``total`` in ``unit``; writes to standard error."""

    def __init__(self, title: str, total: int, unit: str) -> None:
        self._title, self._total, self._unit = title, total, unit
        self._done = 0
        self._began = self._last = time.monotonic()
        self._bar = tqdm(total=total, desc=title, unit=unit, leave=True) if sys.stderr.isatty() else None

    def advance(self, count: int = 1) -> None:
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
        elif time.monotonic() - self._last >= PLAIN_EVERY_S:
            self._last = time.monotonic()
            self._line(f"{self._done:,} of {self._total:,} {self._unit}")

    def __enter__(self) -> Self:
        if self._bar is None:
            self._line("begins")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            if kind is None:
                self._bar.update(max(0, self._total - self._bar.n))
            self._bar.close()
        else:
            self._line("failed" if kind else "done")

    def _line(self, text: str) -> None:
        print(f"{self._title}: {text} ({time.monotonic() - self._began:.0f} s)", file=sys.stderr, flush=True)
