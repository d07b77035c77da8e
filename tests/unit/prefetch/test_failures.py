"""Everything that goes wrong: exit codes, the sentence that is left behind, and what is kept for the next run."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from pathlib import Path

import pytest

from vllm_runbook.prefetch.download import PARTS
from vllm_runbook.prefetch.marker import MARKER
from vllm_runbook.prefetch.outcomes import ExitCode
from vllm_sandbox.hub.server import RunningHub

from .conftest import DEADLINE, GATED, SHARD, TINY, Prefetching, downloads
from .test_prefetch import MAIN, check_target

pytestmark = pytest.mark.asyncio


async def read_until(process: asyncio.subprocess.Process, wanted: str) -> bytes:
    """Lines of stdout up to the first that contains ``wanted``."""
    assert process.stdout is not None
    head = b""
    while wanted not in head.decode():
        line = await asyncio.wait_for(process.stdout.readline(), DEADLINE)
        assert line, f"ended before {wanted!r}"
        head += line
    return head


async def until_part_grows(target: Path, size: int) -> None:
    """Wait until an unfinished file has at least ``size`` bytes."""
    async with asyncio.timeout(DEADLINE):
        while not any(part.stat().st_size >= size for part in target.glob(f"{PARTS}/*.part")):
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("repo", "options", "token", "code", "words"),
    [
        (GATED, [], None, ExitCode.AUTH, "is gated and no valid token was sent"),
        (GATED, [], "hf_sandbox_noaccess", ExitCode.GATED, "ask for access on"),
        (TINY, [], "hf_wrong", ExitCode.AUTH, "refused the token in HF_TOKEN"),
        (TINY, [], "hf with space", ExitCode.AUTH, "characters that no token has"),
        ("sandbox/absent", [], None, ExitCode.NOT_FOUND, "no HF_TOKEN was given"),
        ("sandbox/absent", [], "hf_sandbox_reader", ExitCode.NOT_FOUND, "has no model sandbox/absent; check"),
        (TINY, ["--revision", "v9"], None, ExitCode.NOT_FOUND, "has no revision v9"),
        (TINY, ["--revision", "0" * 40], None, ExitCode.NOT_FOUND, "has no revision 0000"),
        ("a/b/c", [], None, ExitCode.BAD_ARGUMENTS, "is not a model id"),
        (TINY, ["--workers", "0"], None, ExitCode.BAD_ARGUMENTS, "--workers"),
        (TINY, ["--capacity-bytes", "600000"], None, ExitCode.NO_SPACE, "(857799 bytes)"),
        (TINY, ["--ignore", SHARD], None, ExitCode.CHECKSUM, f"names 1 shards .* first {SHARD}"),
    ],
)
async def test_refusals(
    hub: RunningHub, prefetching: Prefetching, repo: str, options: list[str], token: str | None, code: ExitCode,
    words: str,
) -> None:  # fmt: skip
    ended = await prefetching.run(hub.endpoint, *options, repo=repo, token=token)
    assert ended.code == code
    assert re.search(words, ended.reason) or words in ended.reason
    assert token is None or token not in ended.stdout + ended.stderr
    assert not (prefetching.target / MARKER).exists()


async def test_unreachable_and_impossible_endpoints(prefetching: Prefetching) -> None:
    nobody = await prefetching.run("http://127.0.0.1:1", "--attempts", "3")
    assert nobody.code == ExitCode.NETWORK
    assert "failed 3 times in a row, last because ConnectError" in nobody.reason
    assert len(nobody.named("retry")) == 2
    impossible = await prefetching.run("huggingface.co")
    assert impossible.code == ExitCode.BAD_ARGUMENTS
    assert "is not an address" in impossible.reason


async def test_an_endpoint_that_is_no_hub(hub: RunningHub, prefetching: Prefetching) -> None:
    ended = await prefetching.run(f"{hub.endpoint}/elsewhere")
    assert ended.code == ExitCode.NETWORK
    assert "check that HF_ENDPOINT is a Hugging Face hub" in ended.reason


async def test_cuts_are_resumed_with_ranges(
    hub: RunningHub, prefetching: Prefetching, requests_seen: list[str]
) -> None:
    hub.faults.add({"kind": "cut", "file": SHARD, "after_bytes": 60_000, "times": 4})
    ended = await prefetching.run(hub.endpoint, "--attempts", "2")  # every cut comes after new bytes
    assert ended.code == 0, ended.stderr
    ranges = [line.split("range=")[1].split()[0] for line in downloads(requests_seen, SHARD)]
    assert ranges == ["-", "bytes=60000-", "bytes=120000-", "bytes=180000-", "bytes=240000-"]
    assert ended.named("progress")[-1]["received"] == ended.named("start")[0]["total"]
    check_target(prefetching.target, MAIN)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_stopped_run_is_resumed_by_the_next(
    slow_hub: RunningHub, hub: RunningHub, prefetching: Prefetching, requests_seen: list[str], number: signal.Signals
) -> None:
    process = await prefetching.start(slow_hub.endpoint)
    await until_part_grows(prefetching.target, 20_000)
    process.send_signal(number)
    ended = await prefetching.end(process)
    if number == signal.SIGTERM:
        assert ended.code == ExitCode.INTERRUPTED
        assert "run it again" in ended.reason
    assert not (prefetching.target / MARKER).exists()
    kept = sum(part.stat().st_size for part in prefetching.target.glob(f"{PARTS}/*.part"))
    assert kept >= 20_000
    requests_seen.clear()
    again = await prefetching.run(hub.endpoint)
    assert again.code == 0, again.stderr
    assert any("range=bytes=" in line for line in downloads(requests_seen))
    last = again.named("progress")[-1]
    assert last["received"] <= last["total"] - kept
    check_target(prefetching.target, MAIN)


async def test_a_spoiled_file_is_downloaded_again(hub: RunningHub, prefetching: Prefetching) -> None:
    hub.faults.add({"kind": "corrupt", "file": SHARD})
    hub.faults.add({"kind": "corrupt", "file": "tokenizer.json"})  # outside of LFS: git's checksum
    ended = await prefetching.run(hub.endpoint)
    assert ended.code == 0
    assert {event["file"] for event in ended.named("mismatch")} == {SHARD, "tokenizer.json"}
    last = ended.named("progress")[-1]
    assert last["bytes"] == last["total"] < last["received"]
    check_target(prefetching.target, MAIN)


async def test_a_file_that_is_always_spoiled(hub: RunningHub, prefetching: Prefetching) -> None:
    fault = hub.faults.add({"kind": "corrupt", "file": SHARD, "times": None})
    ended = await prefetching.run(hub.endpoint)
    assert ended.code == ExitCode.CHECKSUM
    assert f"{SHARD} of {TINY}" in ended.reason and "downloaded 3 times" in ended.reason
    assert hub.faults.ordered()[fault["id"] - 1]["used"] == 3
    assert not (prefetching.target / SHARD).exists() and not (prefetching.target / MARKER).exists()


async def test_a_spoiled_part_of_an_earlier_run_is_noticed(
    slow_hub: RunningHub, hub: RunningHub, prefetching: Prefetching
) -> None:
    process = await prefetching.start(slow_hub.endpoint)
    await until_part_grows(prefetching.target, 20_000)
    process.terminate()
    await prefetching.end(process)
    for part in prefetching.target.glob(f"{PARTS}/*.part"):
        part.write_bytes(b"x" * part.stat().st_size)
    ended = await prefetching.run(hub.endpoint)
    assert ended.code == 0 and ended.named("mismatch")
    check_target(prefetching.target, MAIN)


async def test_429_waits_as_long_as_the_hub_asks(hub: RunningHub, prefetching: Prefetching) -> None:
    hub.faults.add({"kind": "status", "status": 429, "retry_after": 1, "on": "api", "times": 2})
    ended = await prefetching.run(hub.endpoint)
    assert ended.code == 0
    assert [(event["reason"], event["wait_seconds"]) for event in ended.named("retry")] == [
        ("the hub answered 429", 1.0)
    ] * 2


async def test_429_for_hours_is_not_waited_for(hub: RunningHub, prefetching: Prefetching) -> None:
    hub.faults.add({"kind": "status", "status": 429, "retry_after": 7200, "on": "files", "times": None})
    ended = await prefetching.run(hub.endpoint)
    assert ended.code == ExitCode.NETWORK
    assert "the hub asks to wait 7200 s" in ended.reason


async def test_server_errors_are_retried_then_reported(hub: RunningHub, prefetching: Prefetching) -> None:
    hub.faults.add({"kind": "status", "status": 503, "file": SHARD, "on": "files", "times": 3})
    assert (await prefetching.run(hub.endpoint)).code == 0
    (prefetching.target / SHARD).unlink()
    hub.faults.add({"kind": "status", "status": 500, "file": SHARD, "on": "files", "times": None})
    ended = await prefetching.run(hub.endpoint, "--attempts", "3")
    assert ended.code == ExitCode.NETWORK
    assert f"{SHARD} of {TINY}" in ended.reason and "the hub answered 500" in ended.reason


async def test_a_stalled_hub_times_out(
    hub: RunningHub, prefetching: Prefetching, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.faults.add({"kind": "stall", "file": SHARD, "seconds": 600, "after_bytes": 100_000})
    process = await prefetching.start(hub.endpoint, "--progress-seconds", "0.5")
    ended = await prefetching.end(process)
    assert ended.code == 0
    assert [event["reason"].split(":")[0] for event in ended.named("retry")] == ["ReadTimeout"]
    # One line every half second at most, while it waited for the client's ten seconds.
    assert 5 <= len(ended.named("progress")) <= 40


async def test_two_runs_do_not_meet(slow_hub: RunningHub, hub: RunningHub, prefetching: Prefetching) -> None:
    first = await prefetching.start(slow_hub.endpoint)
    head = await read_until(first, '"start"')
    second = await prefetching.run(hub.endpoint)
    assert second.code == ExitCode.LOCKED
    assert f"process {first.pid}, since" in second.reason
    first.terminate()
    assert (await prefetching.end(first, head)).code == ExitCode.INTERRUPTED
    assert (await prefetching.run(hub.endpoint)).code == 0


async def test_a_file_system_that_refuses_the_size(hub: RunningHub, prefetching: Prefetching) -> None:
    ended = await prefetching.run(hub.endpoint, file_limit_kib=200)
    assert ended.code == ExitCode.NO_SPACE
    assert "refuses files that large" in ended.reason and "still needed" in ended.reason
    assert (await prefetching.run(hub.endpoint)).code == 0
    check_target(prefetching.target, MAIN)


async def test_a_target_below_a_file(hub: RunningHub, prefetching: Prefetching) -> None:
    prefetching.target.parent.parent.mkdir(exist_ok=True)
    prefetching.target.parent.write_text("not a directory")
    ended = await prefetching.run(hub.endpoint)
    assert ended.code == ExitCode.TARGET
    assert "can't be written" in ended.reason


async def test_the_lock_file_names_its_holder(hub: RunningHub, prefetching: Prefetching) -> None:
    await prefetching.run(hub.endpoint)
    holder = json.loads((prefetching.target / ".runbook-prefetch.lock").read_text())
    assert set(holder) == {"host", "pid", "since"}
