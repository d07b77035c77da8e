"""A container's log file, as kubectl logs reads it."""

import asyncio
from datetime import UTC, datetime

import pytest

from vllm_sandbox.node.logs import MAX_LINE, ContainerLog, LogQuery


@pytest.fixture
def log(tmp_path):
    log = ContainerLog(tmp_path / "c" / "0.log")
    yield log
    log.close()


async def text(log, **query):
    return b"".join([line async for line in log.read(LogQuery(**query))]).decode()


@pytest.mark.parametrize(
    ("tail", "expected"), [(0, ""), (1, "c\n"), (2, "b\nc\n"), (9, "a\nb\nc\n"), (None, "a\nb\nc\n")]
)
async def test_tail(log, tail, expected):
    for line in (b"a", b"b", b"c"):
        log.append(line)
    assert await text(log, tail=tail) == expected


async def test_timestamps_since_and_limit(log):
    log.append(b"before")
    moment = datetime.now(UTC)
    log.append(b"after")
    assert await text(log, since=moment) == "after\n"
    stamped = await text(log, timestamps=True, tail=1)
    assert datetime.fromisoformat(stamped.split(" ")[0]) >= moment
    assert await text(log, limit_bytes=3) == "bef"


async def test_followers_see_new_lines_and_end_with_the_run(log):
    log.append(b"one")
    seen = asyncio.create_task(text(log, follow=True))
    await asyncio.sleep(0)
    log.append(b"two")
    await asyncio.sleep(0)
    log.append(b"three")
    log.close()
    assert await asyncio.wait_for(seen, 10) == "one\ntwo\nthree\n"


async def test_output_without_newlines_is_cut_into_pieces(log):
    stream = asyncio.StreamReader(limit=2**20)
    stream.feed_data(b"x" * (MAX_LINE + 1))
    stream.feed_eof()
    await log.drain(stream)
    assert (await text(log)).replace("\n", "") == "x" * (MAX_LINE + 1)


async def test_the_last_lines_for_a_termination_message(log):
    for number in range(30):
        log.append(str(number).encode())
    assert log.tail_text(lines=2) == "28\n29"
