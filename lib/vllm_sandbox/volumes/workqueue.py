"""Work on keys, one run at a time per key, tried again later when it fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from vllm_sandbox.kube import ApiError

log = logging.getLogger(__name__)

FIRST_RETRY_S = 1.0
LAST_RETRY_S = 300.0


class Retry(Exception):
    """Raised by a run that wants to be repeated after the back-off; was reported where it belongs."""


class Workqueue:
    """Calls ``sync(key)`` for each added key.

    A key added during its run is run once more. A failed run is repeated after 1, 2, 4 … 300 s, the
    back-off of the CSI sidecars (external-provisioner, --retry-interval-start and -max), or at once
    when the key is added again. The longest delay is divided by ``time_scale``. Keys are collected
    until `open`, so that no run sees half-filled informers.
    """

    def __init__(self, sync: Callable[[str], Awaitable[None]], time_scale: float = 1) -> None:
        self._sync = sync
        self._last_s = max(FIRST_RETRY_S, LAST_RETRY_S / time_scale)
        self._wake: dict[str, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: set[str] | None = set()
        self._closed = False

    def open(self) -> None:
        """Begin to work."""
        waiting, self._waiting = self._waiting or (), None
        for key in waiting:
            self.add(key)

    def add(self, key: str) -> None:
        """Ask for a run of ``key`` soon."""
        if self._closed:
            return
        if self._waiting is not None:
            self._waiting.add(key)
            return
        if key in self._wake:
            self._wake[key].set()
            return
        self._wake[key] = asyncio.Event()
        task = asyncio.get_running_loop().create_task(self._work(key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Cancel all work."""
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, key: str) -> None:
        wake = self._wake[key]
        delay = FIRST_RETRY_S
        try:
            while True:
                wake.clear()
                if await self._run(key):
                    delay = FIRST_RETRY_S
                    if not wake.is_set():
                        return
                    continue
                try:
                    async with asyncio.timeout(delay):
                        await wake.wait()
                except TimeoutError:
                    delay = min(delay * 2, self._last_s)
        finally:
            del self._wake[key]

    async def _run(self, key: str) -> bool:
        try:
            await self._sync(key)
        except Retry:
            return False
        except ApiError as error:
            if error.code != 409:  # someone else changed the object: their event wakes us
                log.warning("%s: %s", key, error)
            return False
        except Exception:
            log.exception("%s: failed, will be tried again", key)
            return False
        return True
