"""CPU of the whole sandbox with a simulated server that answers 50 streams per second of 64 tokens."""

from __future__ import annotations

import asyncio
import json
import resource
import tempfile
import time
from pathlib import Path

import aiohttp
from measuring import Row, cpu_seconds, kubectl, runbook, sandbox

RATE, TOKENS, SECONDS = 50, 64, 20
QUIET = 2  # streams per second that don't meet each other
BUDGET = 1.5


def measure() -> list[Row]:
    with sandbox() as kubeconfig, tempfile.TemporaryDirectory() as runs:
        runbook("run", "--to", "04", "--runs-dir", runs)
        pods = json.loads(
            kubectl(kubeconfig, "-n", "llm", "get", "pods", "-o", "json", "-l", "app.kubernetes.io/name=vllm-inference")
        )
        url = f"http://{pods['items'][0]['status']['podIP'].replace('10.', '127.', 1)}:8000/v1/chat/completions"
        sandbox_id = _sandbox_id(kubeconfig.parent)
        _, quiet = asyncio.run(_load(url, QUIET, SECONDS // 2))
        before, own, began = cpu_seconds(sandbox_id), _own(), time.monotonic()
        complete, ttft = asyncio.run(_load(url, RATE, SECONDS))
        wall = time.monotonic() - began
        after = cpu_seconds(sandbox_id)
        server = max(((after[pid] - before.get(pid, 0.0)), pid) for pid in after if _is_server(pid))[0] / wall
        all_of_it = (sum(after.values()) - sum(before.values()) + _own() - own) / wall
    assert complete == RATE * SECONDS, f"{complete} of {RATE * SECONDS} streams were complete"
    what = f"CPU of sandbox, server and client at {RATE} streams/s × {TOKENS} tokens"
    return [
        Row(what, f"{all_of_it:.2f} cores", "budget", f"{BUDGET} cores", f"{all_of_it / BUDGET:.2f}"),
        Row(
            "… of it the simulated server",
            f"{server:.2f} cores",
            "all",
            f"{all_of_it:.2f} cores",
            f"{server / all_of_it:.2f}",
        ),
        Row(
            "median time to first token then",
            f"{ttft * 1000:.0f} ms",
            f"at {QUIET} streams/s",
            f"{quiet * 1000:.0f} ms",
            f"{ttft / quiet:.2f}",
        ),
    ]


async def _load(url: str, rate: int, seconds: int) -> tuple[int, float]:
    """Open loop at a fixed rate: complete streams, and the median time to the first token."""
    firsts: list[float] = []
    body = {"model": "qwen3-8b", "messages": [{"role": "user", "content": "hello"}], "max_tokens": TOKENS}
    body |= {"ignore_eos": True, "stream": True}

    async def one(session: aiohttp.ClientSession) -> bool:
        began = time.monotonic()
        chunks = 0
        async with session.post(url, json=body) as answer:
            async for piece in answer.content.iter_any():
                before, chunks = chunks, chunks + piece.count(b'"finish_reason"')
                if before < 2 <= chunks:  # the first chunk only opens the answer
                    firsts.append(time.monotonic() - began)
        return chunks == TOKENS + 1

    loop = asyncio.get_running_loop()
    start = loop.time()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        tasks = []
        for number in range(rate * seconds):
            await asyncio.sleep(max(0.0, start + number / rate - loop.time()))
            tasks.append(asyncio.create_task(one(session)))
        done = await asyncio.gather(*tasks)
    return sum(done), sorted(firsts)[len(firsts) // 2]


def _sandbox_id(directory: Path) -> str:
    state = json.loads((directory / "state.json").read_text())
    return str(state["id"])


def _is_server(pid: int) -> bool:
    return b"vllm_sandbox.vllm" in Path(f"/proc/{pid}/cmdline").read_bytes()


def _own() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
