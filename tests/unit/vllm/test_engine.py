"""The engine's scheduling, without a server around it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from vllm_sandbox.vllm.engine import Engine, Sequence
from vllm_sandbox.vllm.memory import BLOCK, Layout
from vllm_sandbox.vllm.timing import StepTime


class Silent:
    """An observer that only counts preemptions."""

    preemptions = 0

    def preempted(self) -> None:
        self.preemptions += 1

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: None


@pytest.mark.parametrize("prompt", [5, 9, 16, 33])
@pytest.mark.parametrize("together", [2, 4, 7])
async def test_with_too_few_blocks_for_all_each_ends_whole(prompt: int, together: int) -> None:
    """They arrive at once, and the cache has room for less than two of them."""
    layout = Layout(1, 8 * BLOCK, 1, 1, max_num_seqs=8, max_num_batched_tokens=64, max_model_len=256)
    observer = Silent()
    engine = Engine(layout, StepTime(0, 0, 0, 1), observer)
    tokens, reasons = [0] * together, [""] * together

    def sink(index: int) -> Any:
        def take(count: int, reason: str | None) -> None:
            tokens[index] += count
            reasons[index] = reason or ""

        return take

    for index in range(together):
        engine.add(Sequence(prompt, 60, "length", sink(index), 0.0))
    loop = asyncio.create_task(engine.run())
    async with asyncio.timeout(30):
        await engine.idle.wait()
    loop.cancel()
    assert tokens == [60] * together and set(reasons) == {"length"}
    assert observer.preemptions > 0
    assert engine.free_blocks == layout.blocks


async def test_a_batch_has_so_many_adapters_and_others_wait_their_turn() -> None:
    layout = Layout(1, 999 * BLOCK, 1, 1, max_num_seqs=8, max_num_batched_tokens=64, max_model_len=256)
    engine = Engine(layout, StepTime(0, 0, 0, 1), Silent(), max_loras=1)
    together: list[set[str]] = []

    def sink(_tokens: int, _reason: str | None) -> None:
        together.append({each.adapter for each in engine.running})

    for adapter in ("sql", "support", "", "sql"):
        engine.add(Sequence(4, 20, "length", sink, 0.0, adapter=adapter))
    loop = asyncio.create_task(engine.run())
    async with asyncio.timeout(30):
        await engine.idle.wait()
    loop.cancel()
    assert {"sql", ""} in together and {"support"} in together
    assert not [batch for batch in together if {"sql", "support"} <= batch]


async def test_one_that_hangs_has_requests_under_way_and_gives_no_token() -> None:
    layout = Layout(1, 999 * BLOCK, 1, 1, max_num_seqs=1, max_num_batched_tokens=64, max_model_len=256)
    engine = Engine(layout, StepTime(0, 0, 0, 1), Silent())
    tokens: list[int] = []
    engine.hung = True
    ours = Sequence(8, 4, "length", lambda count, _reason: tokens.append(count), 0.0)
    engine.add(ours)
    engine.add(Sequence(8, 4, "length", lambda count, _reason: tokens.append(count), 0.0))
    loop = asyncio.create_task(engine.run())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await engine.idle.wait()
    assert (len(engine.running), len(engine.waiting), tokens) == (1, 1, [])
    engine.abort(ours)
    assert not engine.running, "and still ends when it is told to"
    loop.cancel()
