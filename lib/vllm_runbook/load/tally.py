"""Counts and latencies of a run: what its samples and its result are made of."""

from __future__ import annotations

import time
from array import array
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from vllm_runbook.load.client import Attempt
from vllm_runbook.load.heartbeat import Heartbeat
from vllm_runbook.load.outcomes import CLIENT_LIMIT, Kind
from vllm_runbook.load.statistics import percentile, summary

#: Above this p99 of the heartbeat's lag, latencies say more about the client than about the server.
LIMITED_LAG_S = 0.1


def now_iso() -> str:
    """UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Tally:
    """Counts from the moment it is made.

    Latencies are of complete requests, named and defined as ``vllm bench serve`` does: TTFT to the first token chunk,
    ITL between chunks, E2EL to the last chunk, TPOT = (E2EL - TTFT) / (tokens - 1).

    Args:
        late_after: TTFT in seconds, above which a complete request is ``late`` besides; None counts none.
    """

    def __init__(self, late_after: float | None = None) -> None:
        self._late_after = late_after
        self.heartbeat = Heartbeat()
        self.began = time.perf_counter()
        self._cpu_began = time.process_time()
        self._counts: Counter[str] = Counter()
        self._sampled: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._examples: dict[str, str] = {}
        self._first_chunks: list[float] = []
        self._drops: list[str] = []
        self._ttft, self._itl, self._tpot, self._e2e = (array("d") for _ in range(4))

    @property
    def in_flight(self) -> int:
        """Requests without an outcome; those between two attempts too."""
        counts = self._counts
        return counts["sent"] - counts["complete"] - counts["dropped"] - counts["rejected"]

    def sent(self) -> None:
        self._counts["sent"] += 1

    def retried(self) -> None:
        self._counts["retried"] += 1

    def first_chunk(self, seconds: float) -> None:
        self._first_chunks.append(seconds)

    def chunks(self, count: int) -> None:
        self._counts["tokens"] += count

    def ended(self, last: Attempt) -> None:
        """A request has its outcome: that of its last attempt."""
        self._counts[last.outcome.kind] += 1
        if last.outcome.kind is Kind.COMPLETE:
            self._latencies(last)
        else:
            self._reasons[last.outcome.reason] += 1
            self._examples.setdefault(last.outcome.reason, last.outcome.words)
        if last.outcome.kind is Kind.DROPPED:
            self._drops[1:] = [now_iso()]  # the first one, and the last one so far

    def _latencies(self, attempt: Attempt) -> None:
        timing, tokens = attempt.timing, attempt.answer.completion_tokens or 0
        assert timing.first is not None
        ttft, e2e = timing.first - timing.began, timing.last - timing.began
        self._counts["output_tokens"] += tokens
        self._ttft.append(ttft)
        self._counts["late"] += self._late_after is not None and ttft > self._late_after
        self._e2e.append(e2e)
        self._itl.extend(timing.gaps)
        if tokens > 1:
            self._tpot.append((e2e - ttft) / (tokens - 1))

    def sample(self) -> dict[str, Any]:
        """What happened since the last sample; ``tokens`` are chunks that came, of whatever request."""
        since, self._sampled = self._counts - self._sampled, self._counts.copy()
        firsts, self._first_chunks = sorted(self._first_chunks), []
        names = ("sent", "complete", "dropped", "rejected", "retried")
        return {
            **{name: since[name] for name in names},
            "in_flight": self.in_flight,
            "ttft_p50_ms": _milliseconds(percentile(firsts, 50)),
            "ttft_p99_ms": _milliseconds(percentile(firsts, 99)),
            "tokens": since["tokens"],
        }

    def result(self, *, interrupted: bool) -> dict[str, Any]:
        """Everything until now. ``sent`` is the sum of complete, dropped, rejected and unfinished.

        ``reasons`` counts the dropped and the rejected, ``examples`` quotes what the first of each kind was told.
        """
        seconds = time.perf_counter() - self.began
        counts = self._counts
        return {
            **{name: counts[name] for name in ("sent", "complete", "dropped", "rejected")},
            "unfinished": self.in_flight,
            "retried": counts["retried"],
            "late": counts["late"],
            "reasons": dict(self._reasons.most_common()),
            "examples": {reason: words for reason, words in self._examples.items() if words},
            "seconds": round(seconds, 3),
            "requests_per_second": round(counts["complete"] / seconds, 3),
            "output_tokens": counts["output_tokens"],
            "output_tokens_per_second": round(counts["output_tokens"] / seconds, 3),
            "ttft_seconds": summary(self._ttft),
            "itl_seconds": summary(self._itl),
            "tpot_seconds": summary(self._tpot),
            "e2e_seconds": summary(self._e2e),
            "client": self._client(seconds),
            "interrupted": interrupted,
            "first_drop_at": self._drops[0] if self._drops else None,
            "last_drop_at": self._drops[-1] if self._drops else None,
        }

    def _client(self, seconds: float) -> dict[str, Any]:
        """What this program cost, and whether it was too slow to be believed."""
        lags = sorted(self.heartbeat.lags)
        p99 = percentile(lags, 99) or 0.0
        cpu = time.process_time() - self._cpu_began
        return {
            "lag_p99_seconds": round(p99, 6),
            "lag_max_seconds": round(lags[-1] if lags else 0.0, 6),
            "cpu_seconds": round(cpu, 3),
            "cpu_share": round(cpu / seconds, 4),
            "limited": p99 > LIMITED_LAG_S or CLIENT_LIMIT in self._reasons,
        }


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
