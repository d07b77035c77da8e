"""Starts of the simulation: every recorded flag, the lines of its log, and what a GPU's memory is too small for."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from simulated_vllm import RECORDINGS, Start
from vllm_sandbox.vllm import flags

Models = Callable[[str], Path]
TINY = "sandbox/tiny-llama"


def test_every_recorded_flag_is_known() -> None:
    known = set(flags.build()._option_string_actions)
    recorded = set()
    for line in (RECORDINGS / "flags.txt").read_text().splitlines():
        if line.startswith("-"):
            names = line.split("    default:")[0]
            recorded |= {part.split(" ")[0] for part in re.split(r",\s+(?=-)", names)}
    assert len(recorded) > 300
    assert recorded <= known


def test_flags_are_read_as_the_real_parser_reads_them() -> None:
    args = flags.parse(
        shlex.split(
            "/models/x --max_model_len=16k -tp 2 --no-enable-prefix-caching --kv-cache-memory-bytes 1G "
            "--served-model-name a b --dtype half"
        )
    )
    assert (args.model_tag, args.max_model_len, args.tensor_parallel_size) == ("/models/x", 16000, 2)
    assert (args.enable_prefix_caching, args.kv_cache_memory_bytes) == (False, 2**30)
    assert (args.served_model_name, args.dtype, args.gpu_memory_utilization) == (["a", "b"], "half", 0.92)


def test_a_start_says_that_it_is_simulated_and_what_it_has(start: Start) -> None:
    server = start("--max-model-len", "1024")
    text = "\n".join(server.lines)
    assert server.lines[0].startswith("SIMULATED vLLM")
    assert re.search(r"Model loading took [\d.]+ GiB memory and [\d.]+ seconds", text)
    tokens = re.search(r"GPU KV cache size: ([\d,]+) tokens", text)
    times = re.search(r"Maximum concurrency for 1,024 tokens per request: ([\d.]+)x", text)
    assert tokens and times
    assert float(times[1]) == pytest.approx(int(tokens[1].replace(",", "")) / 1024, abs=0.01)


@pytest.mark.parametrize(
    ("model", "options", "gpus", "words"),
    [
        (TINY, ["-tp=2"], 1, r"World size \(2\) is larger than the number of available GPUs \(1\)"),
        (TINY, [], 0, "Failed to infer device type"),
        (TINY, ["--quantization=bitsandbytes"], 1, "Unknown quantization method"),
        ("meta-llama/Llama-3.1-70B-Instruct", [], 1, r"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate"),
        ("Qwen/Qwen3-8B", ["--max-num-batched-tokens=1M"], 1, r"CUDA out of memory. Tried to allocate 48.00 GiB"),
        ("Qwen/Qwen3-32B", ["--gpu-memory-utilization=0.7"], 1, "No available memory for the cache blocks"),
        ("Qwen/Qwen3-32B", ["--gpu-memory-utilization=0.81"], 1, r"To serve at least one request with the model's max"),
    ],
)  # fmt: skip
def test_what_can_not_work_exits_1_with_the_real_words(
    start: Start, model: str, options: list[str], gpus: int, words: str
) -> None:
    server = start(*options, model=model, gpus=gpus, ready=False)
    assert server.process.wait(30) == 1
    with pytest.raises((AssertionError, Exception)):
        server.wait_for("never printed", seconds=2)
    assert re.search(words, "\n".join(server.lines))


def test_the_70b_fits_on_four_gpus(start: Start) -> None:
    server = start("-tp", "4", model="meta-llama/Llama-3.1-70B-Instruct", gpus=4)
    assert any("Model loading took 32.8" in line for line in server.lines)


def test_the_engine_has_its_own_time_limit(start: Start) -> None:
    server = start(model="Qwen/Qwen3-8B", ready=False, environment={"VLLM_ENGINE_READY_TIMEOUT_S": "5"})
    server.wait_for("Timed out waiting for engine core processes to start")
    assert server.process.wait(20) == 1


def test_a_shard_that_the_index_names_is_missing(start: Start, models: Models, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(models(TINY), broken)
    missing = sorted(broken.glob("*.safetensors"))[1]
    missing.unlink()
    start(model=broken, ready=False).wait_for(f"No such file or directory: '{missing}'")
    start("--load-format", "dummy", model=broken)  # dummies need no files
