"""Continuous batching: one step at a time over all running sequences, with a queue behind them.

Each step gives every decoding sequence one token and spends the rest of its token budget on prefills, first
come, first served. A sequence holds cache blocks (of 16 tokens, by default); when none is free, the youngest is
preempted: it gives its blocks back and is computed again later.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from vllm_sandbox.vllm.memory import Layout
from vllm_sandbox.vllm.timing import StepTime

Sink = Callable[[int, str | None], None]
"""``sink(tokens, finish_reason)``: so many new tokens, and the reason if these are the last."""

#: At an abort, sequences this close to their end are let finish (recorded: "nearly done" ones do).
NEARLY_DONE = 24
_ABORT_PATIENCE_S = 0.3


class Observer(Protocol):
    """Told of what happens, for the metrics. Times are seconds of the event loop's clock."""

    def admitted(self, sequence: Sequence, now: float) -> None: ...

    def first_token(self, sequence: Sequence, now: float) -> None: ...

    def step(self, computed: int, decoded: int, interval: float) -> None: ...

    def preempted(self) -> None: ...

    def finished(self, sequence: Sequence, reason: str, now: float) -> None: ...


@dataclass(eq=False)
class Sequence:
    """One answer being made.

    Attributes:
        ends_after: tokens until it ends by itself, with ``end_reason``.
        computed: tokens whose keys and values are in the cache.
        generated: tokens of the answer so far.
        adapter: LoRA adapter that it is computed with; empty for the model itself.
    """

    prompt_tokens: int
    ends_after: int
    end_reason: str
    sink: Sink
    arrived: float
    max_tokens: int = 0
    params_n: int = 1
    adapter: str = ""
    computed: int = 0
    generated: int = 0
    blocks: int = 0
    started: float = 0.0
    first: float = 0.0
    last: float = 0.0
    done: bool = False

    @property
    def length(self) -> int:
        return self.prompt_tokens + self.generated

    @property
    def remaining(self) -> int:
        return self.ends_after - self.generated


class EngineBusy(Exception):
    """The queue is as long as it may be. ``reason`` is the metric's label."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass
class Engine:
    """The engine. ``run`` is its loop.

    Attributes:
        max_queued_reqs, max_queued_tokens: admission limits over running and waiting; None for none.
        busy_seconds: time of all steps so far, in which the GPUs compute.
        hung: no step comes to its end any more; requests are still taken.
        max_loras: different adapters in one batch at most; requests for another one wait.
    """

    layout: Layout
    timing: StepTime
    observer: Observer
    max_queued_reqs: int | None = None
    max_queued_tokens: int | None = None
    max_loras: int = 1
    waiting: collections.deque[Sequence] = field(default_factory=collections.deque)
    running: list[Sequence] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.free_blocks = self.layout.blocks
        self.queued_tokens = 0
        self.busy_seconds = 0.0
        self.hung = False
        self._wake = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()

    @property
    def requests(self) -> int:
        return len(self.running) + len(self.waiting)

    @property
    def kv_usage(self) -> float:
        return 1 - self.free_blocks / self.layout.blocks

    def check_admission(self, prompt_tokens: int, sequences: int = 1) -> None:
        """Whether a request may be queued.

        Raises:
            EngineBusy: a limit is reached.
        """
        if self.max_queued_reqs is not None and self.requests + sequences > self.max_queued_reqs:
            raise EngineBusy("max_num_queued_reqs")
        if self.max_queued_tokens is not None and self.queued_tokens + prompt_tokens > self.max_queued_tokens:
            raise EngineBusy("max_num_queued_tokens")

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence."""
        self.waiting.append(sequence)
        self.queued_tokens += sequence.prompt_tokens
        self.idle.clear()
        self._wake.set()

    def abort(self, sequence: Sequence, *, counted: bool = True) -> None:
        """End a sequence now, wherever it is: the server ends, or (``counted=False``) its client has gone.

        Recorded: a request whose client has left is in no counter of finished requests.
        """
        if not sequence.done:
            self._finish(sequence, "abort", counted=counted)

    async def abort_all(self) -> None:
        """End everything, but let those that are nearly done finish."""
        nearly = [each for each in self.running if each.generated and each.remaining <= NEARLY_DONE]
        for each in [*self.waiting, *(each for each in self.running if each not in nearly)]:
            self.abort(each)
        try:
            async with asyncio.timeout(_ABORT_PATIENCE_S):
                await self.idle.wait()
        except TimeoutError:
            for each in list(self.running):
                self.abort(each)

    async def run(self) -> None:
        """Steps, for ever; sleeps while there is nothing to do."""
        loop = asyncio.get_running_loop()
        ends = loop.time()
        while True:
            if not self.running and not self.waiting:
                self._wake.clear()
                await self._wake.wait()
                ends = loop.time()
            began = ends
            chunks = self._schedule(began)
            if not chunks:  # everything was aborted meanwhile
                await asyncio.sleep(0)
                continue
            if self.hung:
                await loop.create_future()
            context = sum(each.computed for each, _ in chunks)
            ends = max(began, loop.time() - 0.05) + self.timing.seconds(sum(n for _, n in chunks), context)
            await asyncio.sleep(max(0.0, ends - loop.time()))
            self.busy_seconds += ends - began
            self._advance(chunks, loop.time(), ends - began)

    def _schedule(self, now: float) -> list[tuple[Sequence, int]]:
        """What the next step computes: (sequence, tokens)."""
        budget = self.layout.max_num_batched_tokens
        chunks: list[tuple[Sequence, int]] = []
        at = 0
        while at < len(self.running) and budget > 0:  # whoever is preempted meanwhile is taken from the end
            each = self.running[at]
            tokens = min(each.length - each.computed, budget)
            if self._reserve(each, each.computed + tokens + 1):
                chunks.append((each, tokens))
                budget -= tokens
                at += 1
        while budget > 0 and len(self.running) < self.layout.max_num_seqs:
            if (candidate := self._next()) is None:
                break
            each = candidate
            tokens = min(each.length, budget)
            needed = self._blocks(each.length + 1)
            if needed > self.free_blocks:
                break
            self.waiting.remove(each)
            self._take(each, needed)
            self.running.append(each)
            if not each.started:
                each.started = now
                self.observer.admitted(each, now)
            chunks.append((each, tokens))
            budget -= tokens
        return [(each, tokens) for each, tokens in chunks if each.blocks and not each.done]

    def _next(self) -> Sequence | None:
        """The first that waits and whose adapter has a place in the batch."""
        used = {each.adapter for each in self.running if each.adapter}
        if len(used) < self.max_loras:
            return self.waiting[0] if self.waiting else None
        return next((each for each in self.waiting if not each.adapter or each.adapter in used), None)

    def _reserve(self, sequence: Sequence, tokens: int) -> bool:
        """Blocks for so many tokens, by preempting younger sequences if need be; False if it was itself preempted."""
        needed = self._blocks(tokens) - sequence.blocks
        while needed > self.free_blocks:
            victim = self.running[-1]
            self._preempt(victim)
            if victim is sequence:
                return False
        if needed > 0:
            self._take(sequence, needed)
        return True

    def _preempt(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self._give_back(sequence)
        sequence.computed = 0
        self.waiting.appendleft(sequence)
        self.observer.preempted()

    def _advance(self, chunks: list[tuple[Sequence, int]], now: float, interval: float) -> None:
        """Take in a finished step: tokens to their clients, finished sequences out."""
        decoded = 0
        for each, tokens in chunks:
            if each.done or not each.blocks:
                continue
            each.computed += tokens
            if each.computed < each.length:
                continue  # a part of a long prompt
            each.generated += 1
            if each.generated == 1:
                each.first = now
                self.observer.first_token(each, now)
            else:
                decoded += 1
            each.last = now
            if each.generated >= each.ends_after:
                self._finish(each, each.end_reason, tokens=1)
            else:
                each.sink(1, None)
        self.observer.step(sum(tokens for _, tokens in chunks), decoded, interval)

    def _finish(self, sequence: Sequence, reason: str, tokens: int = 0, *, counted: bool = True) -> None:
        sequence.done = True
        self._give_back(sequence)
        if sequence in self.running:
            self.running.remove(sequence)
        else:
            self.waiting.remove(sequence)
        self.queued_tokens -= sequence.prompt_tokens
        if counted:
            self.observer.finished(sequence, reason, asyncio.get_running_loop().time())
        sequence.sink(tokens, reason)
        if not self.running and not self.waiting:
            self.idle.set()

    def _take(self, sequence: Sequence, blocks: int) -> None:
        sequence.blocks += blocks
        self.free_blocks -= blocks

    def _give_back(self, sequence: Sequence) -> None:
        self.free_blocks += sequence.blocks
        sequence.blocks = 0

    def _blocks(self, tokens: int) -> int:
        return -(-tokens // self.layout.block)
