"""Open-loop load on the simulated server, and what it says of every request."""

from __future__ import annotations

import asyncio
import signal

import pytest

from simulated_vllm import Server, Start, free_port, metric

from .conftest import Generator

SUCCESS = "vllm:request_success_total"


async def test_at_a_small_rate_everything_is_complete(load: Generator, server: Server) -> None:
    before = await metric(server, SUCCESS, finished_reason="length")
    prompts = await metric(server, "vllm:prompt_tokens_total")
    ended = await load.run(server, "--seconds", "1.5", "--output-tokens", "16")
    result = ended.result
    assert (ended.code, ended.stderr, ended.termination) == (0, "", "")
    assert (result["sent"], result["complete"], result["reasons"]) == (30, 30, {})
    assert result["output_tokens"] == 30 * 16 == sum(event.get("tokens", 0) for event in ended.events[:-1])
    assert await metric(server, SUCCESS, finished_reason="length") == before + 31  # and the check
    template = 7
    assert await metric(server, "vllm:prompt_tokens_total") == prompts + 31 * (16 + template)
    assert 0 < result["itl_seconds"]["p50"] < result["ttft_seconds"]["p50"] < result["e2e_seconds"]["p50"]


async def test_natural_ends(load: Generator, server: Server) -> None:
    before = await metric(server, SUCCESS, finished_reason="stop")
    result = (await load.run(server, "--natural-end", "--output-tokens", "100", "--keep-alive")).result
    assert (result["complete"], result["dropped"]) == (20, 0)
    assert await metric(server, SUCCESS, finished_reason="stop") > before
    assert 20 < result["output_tokens"] < 2000


async def test_the_admission_limit_drops_streams(load: Generator, start: Start) -> None:
    server = start("--max-num-seqs", "1", "--max-num-queued-reqs", "2", "--max-model-len", "1024")
    result = (await load.run(server, "--rate", "50", "--output-tokens", "60", "--no-check")).result
    assert result["sent"] == 50 and result["complete"] > 0 and result["dropped"] > 0
    assert result["reasons"] == {"busy_event": result["dropped"]}
    assert await metric(server, "vllm:admission_rejections_total", reason="max_num_queued_reqs") == result["dropped"]


async def test_retries_make_it_whole(load: Generator, start: Start) -> None:
    server = start("--max-num-seqs", "1", "--max-num-queued-reqs", "2", "--max-model-len", "1024")
    result = (await load.run(server, "--rate", "20", "--output-tokens", "20", "--retries", "30")).result
    assert (result["complete"], result["dropped"], result["rejected"]) == (20, 0, 0)
    assert result["retried"] > 0
    rejections = await metric(server, "vllm:admission_rejections_total", reason="max_num_queued_reqs")
    assert rejections == result["retried"]


async def test_a_server_that_ends_drops_what_is_in_flight(load: Generator, start: Start) -> None:
    server = start("--max-model-len", "1024", "--max-num-seqs", "4")
    running = await load.start(server, "--seconds", "3", "--output-tokens", "500", "--no-check")
    await running.sample(lambda sample: sample["tokens"] > 0 and sample["in_flight"] > 10)
    server.stop()
    result = (await running.end()).result
    reasons = result["reasons"]
    assert reasons["aborted"] > 0 and reasons["connection_refused"] > 0
    assert result["dropped"] == result["sent"] - result["complete"] >= 30
    assert result["first_drop_at"] < result["last_drop_at"]


async def test_a_server_that_drains_refuses_the_new_ones_only(load: Generator, start: Start) -> None:
    server = start("--max-model-len", "1024", "--shutdown-timeout", "60")
    running = await load.start(server, "--seconds", "3", "--output-tokens", "300", "--no-check")
    await running.sample(lambda sample: sample["in_flight"] > 10)
    server.stop()
    result = (await running.end()).result
    reasons = result["reasons"]
    assert reasons["http_500"] > 0 and set(reasons) <= {"http_500", "connection_refused", "connection_closed"}
    assert result["complete"] > 10 and result["complete"] + sum(reasons.values()) == result["sent"] == 60


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_the_generator_killed(load: Generator, server: Server, number: signal.Signals) -> None:
    running = await load.start(server, "--seconds", "60", "--output-tokens", "900", "--no-check")
    await running.sample(lambda sample: sample["in_flight"] > 5)
    ended = await running.end(number)
    if number is signal.SIGTERM:
        assert ended.code == 143 and ended.result["interrupted"] is True and ended.result["unfinished"] > 5
        assert ended.result["reasons"] == {}
    else:
        assert ended.code == -signal.SIGKILL and ended.events[-1]["event"] == "sample"
    async with asyncio.timeout(20):
        while await metric(server, "vllm:num_requests_running") > 0:
            await asyncio.sleep(0.05)


async def test_an_unknown_model_ends_it_before_it_begins(load: Generator, server: Server) -> None:
    ended = await load.run(server, "--model", "nope")
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr.rstrip("\n") == ended.termination
    assert ended.termination == (
        f"The server at {server.url} refused the first request with status 404: The model `nope` does not exist. Valid "
        "aliases: tiny; nothing else was sent."
    )

    async def refusals() -> float:
        return await metric(server, "http_requests_total", handler="/v1/chat/completions", status="4xx")

    before = await refusals()
    await load.run(server, "--model", "nope")
    assert await refusals() == before + 1
    ended = await load.run(server, "--model", "nope", "--no-check")
    assert ended.code == 0 and ended.result["reasons"] == {"http_404": 20}
    assert await refusals() == before + 21


async def test_a_prompt_that_is_too_long(load: Generator, server: Server) -> None:
    ended = await load.run(server, "--prompt-tokens", "1100")
    assert ended.code == 2 and "maximum context length is 1024 tokens" in ended.termination


async def test_the_key_is_sent_and_never_printed(load: Generator, start: Start) -> None:
    server = start("--max-model-len", "1024", "--api-key", "s3cret-key")
    ended = await load.run(server, "--seconds", "0.2", key="s3cret-key\n")
    assert ended.result["complete"] == 4 and "s3cret-key" not in ended.stdout + ended.stderr
    ended = await load.run(server, key="wr0ng-key")
    assert ended.code == 2 and ended.termination.endswith("with status 401: Unauthorized; nothing else was sent.")
    assert "wr0ng-key" not in ended.stdout + ended.stderr + ended.termination
    ended = await load.run(server, key="two words")
    assert ended.code == 2 and ended.termination.startswith("VLLM_API_KEY contains characters that no token has")


async def test_a_server_that_is_not_there_is_measured(load: Generator) -> None:
    ended = await load.run(f"http://127.0.0.1:{free_port()}")
    assert ended.code == 0
    assert ended.result["reasons"] == {"connection_refused": 20} and ended.result["ttft_seconds"]["p50"] is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--url", "inference:8000"], "is no URL of a server"),
        (["--url", "http://me:pw@inference:8000"], "a key comes from VLLM_API_KEY"),
        (["--rate", "0"], "'--rate'"),
        (["--arrivals", "bursty"], "'bursty' is not one of 'fixed', 'poisson'"),
    ],
)
async def test_wrong_arguments(load: Generator, options: list[str], words: str) -> None:
    ended = await load.run("http://127.0.0.1:1", *options)
    assert (ended.code, ended.stdout) == (2, "")
    assert words in ended.termination and ended.termination == ended.stderr.rstrip("\n")
    assert ended.termination.endswith("see --help for what the load generator takes.") and "pw" not in ended.termination
