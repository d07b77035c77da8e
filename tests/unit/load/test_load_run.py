"""Whole runs in this process: what is printed, and that the sums hold."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from scripted import BUSY_STREAM, RECORDED, Scripted, chunked, response, scripted, stream

from vllm_runbook.job_output import Output
from vllm_runbook.load.heartbeat import Heartbeat
from vllm_runbook.load.retry import RetryPolicy
from vllm_runbook.load.run import Refused, Settings, execute
from vllm_runbook.load.schedule import Schedule

CUT = chunked(stream(2, None, usage=-1, done=False), whole=False)
START = ["event", "at", "rate", "seconds", "arrivals", "prompt_tokens", "output_tokens", "url", "model", "retries"]
COUNTS = ["sent", "complete", "dropped", "rejected", "retried"]
SAMPLE = ["event", "at", "second", *COUNTS, "in_flight", "ttft_p50_ms", "ttft_p99_ms", "tokens"]


@dataclass
class Printed:
    """The lines of a run."""

    code: int
    events: list[dict[str, Any]]

    @property
    def samples(self) -> list[dict[str, Any]]:
        return self.events[1:-1]

    @property
    def result(self) -> dict[str, Any]:
        return self.events[-1]


async def run(script: Scripted, rate: float = 20, seconds: float = 0.5, **more: Any) -> Printed:
    stream = io.StringIO()
    options: dict[str, Any] = {"policy": RetryPolicy(), "timeout": 10, "check": False, "keep_alive": False} | more
    settings = Settings(script.target(), Schedule("fixed", rate, seconds), **options)
    code = await execute(settings, Output(stream, None))
    printed = Printed(code, [json.loads(line) for line in stream.getvalue().splitlines()])
    check_sums(printed)
    return printed


def check_sums(printed: Printed) -> None:
    """Samples add up to the result, and every request has one outcome."""
    start, result = printed.events[0], printed.result
    assert [start["event"], result["event"]] == ["start", "result"] and list(start) == START
    assert all(list(sample) == SAMPLE and sample["event"] == "sample" for sample in printed.samples)
    assert [sample["second"] for sample in printed.samples] == list(range(1, len(printed.samples) + 1))
    for name in COUNTS:
        assert sum(sample[name] for sample in printed.samples) == result[name], name
    assert result["sent"] == result["complete"] + result["dropped"] + result["rejected"] + result["unfinished"]
    assert sum(result["reasons"].values()) == result["dropped"] + result["rejected"]
    assert printed.samples[-1]["in_flight"] == result["unfinished"]
    assert (result["unfinished"] == 0) or result["interrupted"]
    assert (result["first_drop_at"] is None) == (result["last_drop_at"] is None) == (result["dropped"] == 0)
    datetime.fromisoformat(start["at"])


async def test_everything_complete() -> None:
    async with scripted(chunked(RECORDED)) as script:
        printed = await run(script)
    result = printed.result
    assert (printed.code, result["sent"], result["complete"], result["output_tokens"]) == (0, 10, 10, 30)
    assert result["requests_per_second"] == pytest.approx(10 / result["seconds"], rel=0.01)
    assert result["output_tokens_per_second"] == pytest.approx(30 / result["seconds"], rel=0.01)
    assert sum(sample["tokens"] for sample in printed.samples) == 30
    for name in ("ttft", "itl", "tpot", "e2e"):
        summary = result[f"{name}_seconds"]
        assert list(summary) == ["mean", "p50", "p90", "p99", "max"]
        assert 0 <= summary["p50"] <= summary["p90"] <= summary["p99"] <= summary["max"]
    assert result["ttft_seconds"]["max"] <= result["e2e_seconds"]["max"] < 5
    client = result["client"]
    assert list(client) == ["lag_p99_seconds", "lag_max_seconds", "cpu_seconds", "cpu_share", "limited"]
    assert 0 < client["cpu_seconds"] < 5 and client["lag_p99_seconds"] <= client["lag_max_seconds"]
    assert (await _prompts(script)) == 10


async def _prompts(script: Scripted) -> int:
    return len({str(body["messages"]) for _, body in script.requests})


async def test_each_kind_is_counted_once() -> None:
    busy = response(
        b'{"error":{"message":"The engine is currently busy and cannot accept new requests."}}',
        "503 Service Unavailable",
        "application/json",
    )
    gateway = response(b"no healthy upstream", "503 Service Unavailable", "text/plain")
    async with scripted(busy, gateway, CUT, chunked(BUSY_STREAM), chunked(RECORDED)) as script:
        result = (await run(script)).result
    assert [result[name] for name in ("sent", "complete", "dropped", "rejected", "retried")] == [10, 6, 3, 1, 0]
    assert result["reasons"] == {"busy": 1, "http_503": 1, "truncated": 1, "busy_event": 1}
    assert result["examples"]["http_503"] == "no healthy upstream"
    assert result["examples"]["busy_event"].startswith("The engine is currently busy")
    assert result["first_drop_at"] <= result["last_drop_at"]
    assert result["output_tokens"] == 18


async def test_retries_make_whole_what_failed_early_and_times_count_from_the_first_attempt() -> None:
    async with scripted(b"", chunked(BUSY_STREAM), chunked(RECORDED)) as script:
        result = (await run(script, rate=1, seconds=1, policy=RetryPolicy(3))).result
    assert (result["sent"], result["complete"], result["retried"], result["reasons"]) == (1, 1, 2, {})
    assert result["e2e_seconds"]["max"] > 0.375 + 0.75
    assert result["ttft_seconds"]["max"] > 0.375 + 0.75 > result["tpot_seconds"]["max"]


@pytest.mark.parametrize("cut", [False, True])
async def test_a_cut_stream_is_tried_again_only_when_told_to(cut: bool) -> None:
    async with scripted(CUT, chunked(RECORDED)) as script:
        result = (await run(script, rate=1, seconds=1, policy=RetryPolicy(3, cut))).result
    assert (result["complete"], result["dropped"], result["retried"]) == ((1, 0, 1) if cut else (0, 1, 0))


async def test_the_outcome_is_that_of_the_last_attempt() -> None:
    async with scripted(CUT[:0], chunked(BUSY_STREAM)) as script:
        result = (await run(script, rate=1, seconds=1, policy=RetryPolicy(1))).result
    assert (result["dropped"], result["retried"], result["reasons"]) == (1, 1, {"busy_event": 1})


async def test_no_attempt_begins_after_the_timeout() -> None:
    async with scripted(b"") as script:
        result = (await run(script, rate=1, seconds=1, policy=RetryPolicy(9), timeout=1.0)).result
    assert result["reasons"] == {"connection_closed": 1} and result["retried"] == 1


async def test_what_hangs_is_waited_for_up_to_the_timeout() -> None:
    async with scripted(CUT, hang=True) as script:
        printed = await run(script, timeout=1.5)
    assert printed.result["reasons"] == {"timeout": 10} and printed.result["interrupted"] is False
    assert printed.result["seconds"] >= 1.5 and max(sample["in_flight"] for sample in printed.samples) == 10


async def test_arrivals_don_t_wait_for_answers() -> None:
    async with scripted(CUT, hang=True) as script:
        printed = await run(script, rate=100, seconds=0.5, timeout=1.5)
    assert max(sample["in_flight"] for sample in printed.samples) == printed.result["sent"] == 50


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_a_signal_ends_it_at_once(number: signal.Signals, code: int) -> None:
    async with scripted(CUT, hang=True) as script:
        running = asyncio.create_task(run(script, seconds=60, timeout=60))
        async with asyncio.timeout(10):
            while len(script.requests) < 5:
                assert not running.done()
                await asyncio.sleep(0.01)
        os.kill(os.getpid(), number)
        printed = await asyncio.wait_for(running, 5)
    assert printed.code == code and printed.result["interrupted"] is True
    assert printed.result["unfinished"] == printed.result["sent"] >= 5 and printed.result["dropped"] == 0


async def test_the_check_refuses_what_the_server_refuses() -> None:
    body = b'{"error":{"message":"The model `nope` does not exist.","code":404}}'
    async with scripted(response(body, "404 Not Found", "application/json")) as script:
        with pytest.raises(
            Refused, match=r"with status 404: The model `nope` does not exist; nothing else was sent\.$"
        ):
            await run(script, check=True)
    assert len(script.requests) == 1


@pytest.mark.parametrize("first", [b"", response(b"", "429 Too Many Requests"), chunked(BUSY_STREAM)])
async def test_the_check_lets_a_server_in_trouble_be_measured(first: bytes) -> None:
    async with scripted(first, chunked(RECORDED)) as script:
        result = (await run(script, check=True)).result
    assert result["complete"] == 10 and len(script.requests) == 11
    assert await _prompts(script) == 11


async def test_the_heartbeat_sees_a_stall_as_long_as_it_was() -> None:
    heartbeat = Heartbeat()
    beating = asyncio.create_task(heartbeat.run())
    await asyncio.sleep(0.12)
    time.sleep(0.5)
    await asyncio.sleep(0.06)
    beating.cancel()
    late = [lag for lag in heartbeat.lags if lag > 0.1]
    assert 0.4 < max(late) < 5 and len(late) >= 7
