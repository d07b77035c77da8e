"""Which requests are tried again, and after what pause."""

from __future__ import annotations

import random
from dataclasses import dataclass

from vllm_runbook.load.client import Attempt
from vllm_runbook.load.outcomes import Kind

_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _JITTER = 0.5, 8.0, 0.25


@dataclass(frozen=True)
class RetryPolicy:
    """A client's patience. Pauses are those of the openai client: 0.5 s, doubled up to 8 s, up to a quarter less.

    Attributes:
        retries: attempts after the first one.
        cut: also after the first token was there (a reader has then seen the beginning of another answer).
    """

    retries: int = 0
    cut: bool = False

    def again(self, attempt: Attempt, retried: int) -> bool:
        """Whether to try again after an attempt and so many retries before it."""
        outcome = attempt.outcome
        if outcome.kind is Kind.COMPLETE or outcome.refuses_arguments or outcome.reason == "timeout":
            return False
        return retried < self.retries and (self.cut or not attempt.answer.chunks)

    def pause(self, retried: int, source: random.Random) -> float:
        """Seconds before the next attempt."""
        return min(_FIRST_PAUSE_S * 2.0**retried, _LONGEST_PAUSE_S) * (1 - _JITTER * source.random())
