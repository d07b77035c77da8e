"""A run: the check, the schedule, a sample every second, the result."""

from __future__ import annotations

import asyncio
import random
import signal
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from vllm_runbook.job_output import Output
from vllm_runbook.load.client import Client, Target
from vllm_runbook.load.outcomes import ExitCode
from vllm_runbook.load.retry import RetryPolicy
from vllm_runbook.load.schedule import Schedule
from vllm_runbook.load.tally import Tally, now_iso

_CHECK_TIMEOUT_S = 30.0
_CHECK_NUMBER = -1  # a prompt that no other request has


class Refused(Exception):
    """The server says that the requests themselves are wrong; the message is one sentence."""


@dataclass(frozen=True)
class Settings:
    """What to do. Seconds: ``timeout`` is a request's, with all its attempts; ``late_after`` see :class:`Tally`."""

    target: Target
    schedule: Schedule
    policy: RetryPolicy
    timeout: float
    check: bool
    keep_alive: bool
    late_after: float | None = None


async def execute(settings: Settings, output: Output) -> int:
    """Run to the end or to the first SIGTERM or SIGINT; returns the exit code.

    Raises:
        Refused: by the check; nothing else was sent.
    """
    stopped = _signalled()
    async with Client(settings.target, keep_alive=settings.keep_alive) as client:
        run = _Run(settings, client, output)
        work = asyncio.create_task(run.run())
        either: set[asyncio.Future[Any]] = {work, stopped}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
            return ExitCode.OK
        run.report(interrupted=True)
        work.cancel()
        await asyncio.wait({work})
    return ExitCode(128 + stopped.result())


def _signalled() -> asyncio.Future[int]:
    """Becomes the number of the first SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[int] = loop.create_future()

    def stop(number: int) -> None:
        if not stopped.done():
            stopped.set_result(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    return stopped


class _Run:
    """State of a run. The tally begins when the first request is due."""

    def __init__(self, settings: Settings, client: Client, output: Output) -> None:
        self._settings = settings
        self._client = client
        self._output = output
        self._random = random.Random(settings.schedule.seed)
        self._tally = Tally(settings.late_after)
        self._second = 0

    async def run(self) -> None:
        """Everything, up to the result."""
        if self._settings.check:
            await self._check()
        times = self._settings.schedule.times()
        self._tally = Tally(self._settings.late_after)
        self._tell_start()
        async with asyncio.TaskGroup() as around:
            beside = [around.create_task(self._tally.heartbeat.run()), around.create_task(self._sample_every_second())]
            async with asyncio.TaskGroup() as requests:
                for number, due in enumerate(times):
                    await asyncio.sleep(max(0.0, self._tally.began + due - perf_counter()))
                    requests.create_task(self._request(number))
            for task in beside:
                task.cancel()
        self.report(interrupted=False)

    def report(self, *, interrupted: bool) -> None:
        """The rest of the last second, and the result."""
        self._sample()
        self._output.event("result", **self._tally.result(interrupted=interrupted))

    async def _check(self) -> None:
        """One request first. A server that can't be reached, or is busy, isn't an error: that gets measured."""
        timeout = min(self._settings.timeout, _CHECK_TIMEOUT_S)
        body = self._settings.target.body(_CHECK_NUMBER)
        outcome = (await self._client.attempt(body, perf_counter(), timeout, Tally())).outcome
        if outcome.refuses_arguments:
            raise Refused(
                f"The server at {self._settings.target.url} refused the first request with status {outcome.status}: "
                f"{outcome.words.rstrip('.')}; nothing else was sent."
            )

    def _tell_start(self) -> None:
        target, schedule = self._settings.target, self._settings.schedule
        self._output.event(
            "start",
            at=now_iso(),
            rate=schedule.rate,
            seconds=schedule.seconds,
            arrivals=schedule.arrivals,
            prompt_tokens=target.prompt_tokens,
            output_tokens=target.output_tokens,
            url=str(target.url),
            model=target.model,
            retries=self._settings.policy.retries,
        )

    async def _sample_every_second(self) -> None:
        while True:
            await asyncio.sleep(self._tally.began + self._second + 1 - perf_counter())
            self._sample()

    def _sample(self) -> None:
        self._second += 1
        self._output.event("sample", at=now_iso(), second=self._second, **self._tally.sample())

    async def _request(self, number: int) -> None:
        """One request with its retries."""
        tally, policy = self._tally, self._settings.policy
        body = self._settings.target.body(number)
        tally.sent()
        began = perf_counter()
        deadline = began + self._settings.timeout
        retried = 0
        while True:
            attempt = await self._client.attempt(body, began, deadline - perf_counter(), tally)
            pause = policy.pause(retried, self._random)
            if not policy.again(attempt, retried) or perf_counter() + pause >= deadline:
                break
            await asyncio.sleep(pause)
            retried += 1
            tally.retried()
        tally.ended(attempt)
