"""What a prefetch tells while it runs: JSON lines, few enough to be kept."""

from __future__ import annotations

import threading

from vllm_runbook.job_output import Output


class PrefetchOutput(Output):
    """The prefetch's events."""

    def retry(self, what: str, reason: str, seconds: float) -> None:
        """Tell of a pause before another attempt."""
        self.event("retry", what=what, reason=reason, wait_seconds=round(seconds, 1))


class Progress:
    """Counts bytes and files from several threads."""

    def __init__(self, total_bytes: int, total_files: int) -> None:
        self._lock = threading.Lock()
        self._total = total_bytes
        self._files = total_files
        self._bytes = 0
        self._done = 0
        self._received = 0

    def present(self, count: int) -> None:
        """These bytes are on disk (found there, or again gone if negative)."""
        with self._lock:
            self._bytes += count

    def received(self, count: int) -> None:
        """These bytes came over the network and are on disk."""
        with self._lock:
            self._bytes += count
            self._received += count

    def file_done(self) -> None:
        with self._lock:
            self._done += 1

    def state(self) -> dict[str, int]:
        """Fields of a progress event; ``received`` counts this run's network bytes only."""
        with self._lock:
            return {
                "bytes": self._bytes,
                "total": self._total,
                "files_done": self._done,
                "files": self._files,
                "received": self._received,
            }

    @property
    def missing(self) -> int:
        """Bytes still to come."""
        with self._lock:
            return max(0, self._total - self._bytes)
