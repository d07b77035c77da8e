"""CPU of the whole sandbox with a simulated server that answers 50 streams per second of 64 tokens."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import Row, cpu_seconds, id_of, kubectl, runbook, sandbox

RATE, QUIET, TOKENS, SECONDS = 50, 5, 64, 20
BUDGET = 1.5


def measure() -> list[Row]:
    with sandbox() as kubeconfig, tempfile.TemporaryDirectory() as runs:
        runbook("run", "--runs-dir", runs)
        pods = json.loads(
            kubectl(kubeconfig, "-n", "llm", "get", "pods", "-o", "json", "-l", "app.kubernetes.io/name=vllm-inference")
        )
        url = f"http://{pods['items'][0]['status']['podIP'].replace('10.', '127.', 1)}:8000"
        sandbox_id = id_of(kubeconfig)
        quiet = _load(url, QUIET, SECONDS // 2)["ttft_seconds"]["p50"]
        before, began = cpu_seconds(sandbox_id), time.monotonic()
        result = _load(url, RATE, SECONDS)
        wall = time.monotonic() - began
        after = cpu_seconds(sandbox_id)
        client = result["client"]["cpu_seconds"] / wall
        server = max(((after[pid] - before.get(pid, 0.0)), pid) for pid in after if _is_server(pid))[0] / wall
        all_of_it = (sum(after.values()) - sum(before.values())) / wall + client
    assert result["complete"] == RATE * SECONDS, f"of {RATE * SECONDS} streams failed: {result['reasons']}"
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
            "… of it the load generator",
            f"{client:.2f} cores",
            "all",
            f"{all_of_it:.2f} cores",
            f"{client / all_of_it:.2f}",
        ),
        Row(
            "median time to first token then",
            f"{result['ttft_seconds']['p50'] * 1000:.0f} ms",
            f"at {QUIET} streams/s",
            f"{quiet * 1000:.0f} ms",
            f"{result['ttft_seconds']['p50'] / quiet:.2f}",
        ),
    ]


def _load(url: str, rate: int, seconds: int) -> dict[str, Any]:
    """The load generator's result."""
    command = [sys.executable, "-m", "vllm_runbook.load", "--url", url, "--model", "qwen3-8b", "--arrivals", "fixed"]
    command += ["--rate", str(rate), "--seconds", str(seconds), "--output-tokens", str(TOKENS), "--prompt-tokens", "8"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _is_server(pid: int) -> bool:
    return b"vllm_sandbox.vllm" in Path(f"/proc/{pid}/cmdline").read_bytes()
