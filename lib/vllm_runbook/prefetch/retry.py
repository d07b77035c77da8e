"""Trying again, a bounded number of times, with growing pauses."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from vllm_runbook.prefetch.outcomes import ExitCode, Interrupted, PrefetchError, Transient

T = TypeVar("T")


@dataclass(frozen=True)
class RetryPolicy:
    """How patient to be. All times in seconds.

    Attributes:
        attempts: failures in a row after which to give up; bytes that arrive begin a new row.
        first_wait: pause after the first failure, doubled after each further one.
        longest_wait: limit of those pauses.
        longest_retry_after: the longest pause to accept when the hub asks for one.
    """

    attempts: int = 6
    first_wait: float = 1.0
    longest_wait: float = 60.0
    longest_retry_after: float = 900.0

    def pause(self, failures: int, asked: float | None) -> float:
        """Seconds to wait after this many failures in a row."""
        if asked is not None:
            return asked
        return min(self.longest_wait, self.first_wait * 2.0 ** (failures - 1))


def with_retries(
    action: Callable[[], T],
    what: str,
    policy: RetryPolicy,
    stop: threading.Event,
    notify: Callable[[str, str, float], None],
) -> T:
    """Do ``action`` until it succeeds; ``what`` names it, ``notify(what, reason, seconds)`` tells of each pause.

    Raises:
        PrefetchError: NETWORK after too many failures in a row; INTERRUPTED once ``stop`` is set.
    """
    failures = 0
    while True:
        try:
            return action()
        except Transient as error:
            failures = 1 if error.progressed else failures + 1
            pause = policy.pause(failures, error.retry_after)
            if failures >= policy.attempts:
                raise PrefetchError(
                    ExitCode.NETWORK,
                    f"{what} failed {failures} times in a row, last because {error}; check that the pod reaches the "
                    "hub (DNS, proxy, network policy), then run again: it resumes.",
                ) from error
            if pause > policy.longest_retry_after:
                raise PrefetchError(
                    ExitCode.NETWORK,
                    f"{what} failed because {error} and the hub asks to wait {pause:.0f} s; run again after that, or "
                    "use a token with a higher rate limit.",
                ) from error
            notify(what, str(error), pause)
        if stop.wait(pause):
            raise Interrupted
