"""From arguments to a server: the checks of a real start, the load, then serving until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import socket
import sys
from argparse import Namespace
from collections.abc import Sequence

import uvloop
from aiohttp import web

from vllm_sandbox.vllm import VERSION, faults, flags, log, lora, memory, timing
from vllm_sandbox.vllm.checkpoint import Checkpoint, StartError, find, read
from vllm_sandbox.vllm.engine import Engine
from vllm_sandbox.vllm.faults import Fault
from vllm_sandbox.vllm.gpu_use import GpuReporter
from vllm_sandbox.vllm.host_memory import Reporter, used
from vllm_sandbox.vllm.memory import GIB, Gpu, Layout
from vllm_sandbox.vllm.metrics import Metrics
from vllm_sandbox.vllm.server import Application, Serving

_READY_TIMEOUT_S = 600
_REFUSED_QUANTIZATION = ("bitsandbytes", "gguf")


def main(argv: Sequence[str]) -> int:
    """Run ``serve`` or ``api-server``; returns the exit code."""
    fault, argv = faults.taken_off(argv)
    if not argv or argv[0] not in ("serve", "api-server"):
        print("usage: vllm [-h] [-v] {serve} ...", file=sys.stderr)
        return 2
    print(f"SIMULATED vLLM {VERSION} of the sandbox: no model runs here, and no GPU is used", flush=True)
    if fault.name:
        print(f"This version is wrong on purpose ({fault.name}): it {faults.FAULTS[fault.name]}", flush=True)
    args = flags.parse(argv[1:])
    try:
        return uvloop.run(_serve(args, fault))
    except StartError as error:
        for line in error.lines:
            log.error(line, "core.py:1")
        print("\n".join(error.lines), file=sys.stderr, flush=True)
        return 1


async def _serve(args: Namespace, fault: Fault) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    name = args.model_tag or args.model
    log.info(f"vLLM API server version {VERSION}")
    _check_environment()
    listener = _bind(args)
    model, gpus = _check(args, name)
    layout = memory.lay_out(args, model, gpus[0])
    gpu_count = args.tensor_parallel_size * args.pipeline_parallel_size
    requests_of: list[Engine] = []

    def host_bytes() -> int:
        engine = requests_of[0] if requests_of else None
        return used(gpu_count, engine.requests if engine else 0, engine.queued_tokens if engine else 0)

    reporter = asyncio.create_task(Reporter(host_bytes).run())
    if not await _load(args, model, layout, stop):
        reporter.cancel()
        return 0
    adapters = lora.load(args)
    served = args.served_model_name or [name]
    gauge = lora.Gauge(args.max_loras) if args.enable_lora else None
    metrics = Metrics(served[0], _cache_info(args, layout), gauge)
    step = timing.StepTime(layout.weight_bytes, layout.kv_bytes_per_token, model.parameters, gpu_count)
    engine = Engine(layout, step, metrics, args.max_num_queued_reqs, args.max_num_queued_tokens, args.max_loras)
    metrics.engine = engine
    requests_of.append(engine)
    serving = Serving(
        engine=engine,
        metrics=metrics,
        names=served,
        adapters=adapters,
        root=name,
        max_model_len=layout.max_model_len,
        vocab=model.vocab,
        fingerprint=_fingerprint(args),
        api_keys=args.api_key or ([key] if (key := os.environ.get("VLLM_API_KEY")) else []),
        access_log=not args.disable_uvicorn_access_log,
        fault=fault,
    )
    loop_task = asyncio.create_task(engine.run())
    taken = int(gpus[0].memory_bytes * args.gpu_memory_utilization)  # vLLM takes its share at once, and keeps it
    gpu_reporter = asyncio.create_task(GpuReporter(lambda: engine.busy_seconds, taken).run())
    try:
        await _listen(serving, listener, args.shutdown_timeout, stop)
    finally:
        for task in (loop_task, reporter, gpu_reporter):
            task.cancel()
        await asyncio.gather(loop_task, reporter, gpu_reporter, return_exceptions=True)
    return 0


def _check_environment() -> None:
    """A Service called vllm puts its address into VLLM_PORT (vllm issue 34199)."""
    port = os.environ.get("VLLM_PORT", "")
    if port and not port.isdigit():
        raise StartError(
            f"ValueError: VLLM_PORT '{port}' appears to be a URI. This may be caused by a Kubernetes service discovery "
            "issue,check the warning in: https://docs.vllm.ai/en/stable/serving/env_vars.html"
        )


def _bind(args: Namespace) -> socket.socket:
    """Bind the port early, as the real server does, but don't listen: connections are refused until it is ready."""
    host = os.environ.get("SANDBOX_POD_IP") or args.host or "127.0.0.1"
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, args.port))
    except OSError as error:
        raise StartError(f"OSError: [Errno {error.errno}] {error.strerror}") from error
    return listener


def _check(args: Namespace, name: str) -> tuple[Checkpoint, list[Gpu]]:
    """Everything that the real server looks at before it loads weights."""
    if args.quantization in _REFUSED_QUANTIZATION:
        raise StartError(
            f"ValueError: Unknown quantization method: {args.quantization}. It is not in vLLM's core any more."
        )
    dummy = args.load_format == "dummy"
    model = read(find(name, args.revision), dummy=dummy)
    memory.max_model_len(args, model)
    gpus = [Gpu(gpu["product"], int(gpu["memory_bytes"])) for gpu in json.loads(os.environ.get("SANDBOX_GPUS") or "[]")]
    if not gpus:
        raise StartError(
            "RuntimeError: Failed to infer device type, please set the environment variable "
            "`VLLM_LOGGING_LEVEL=DEBUG` to turn on verbose logging to help debug the issue."
        )
    memory.check_parallelism(args, model, gpus)
    return model, gpus


async def _load(args: Namespace, model: Checkpoint, layout: Layout, stop: asyncio.Event) -> bool:
    """Take the time that a load takes, divided by the sandbox's time scale; False when told to stop meanwhile."""
    scale = float(os.environ.get("SANDBOX_TIME_SCALE", "1"))
    rate = float(os.environ.get("SANDBOX_LOAD_BYTES_PER_SECOND", timing.LOAD_BYTES_PER_S))
    reading = 0.0 if model.dummy else model.weight_bytes / rate
    compiling = 0.0 if args.enforce_eager else timing.COMPILE_S
    limit = float(os.environ.get("VLLM_ENGINE_READY_TIMEOUT_S", _READY_TIMEOUT_S))
    note = f" (simulated: real seconds / {scale:g})" if scale != 1 else " (simulated)"
    log.info(f"Starting to load model {args.model_tag or args.model}...", "gpu_model_runner.py:1", "Worker_TP0")
    if await _pause(min(reading, limit) / scale, stop):
        return False
    log.info(
        f"Model loading took {layout.weight_bytes / GIB:.4g} GiB memory and {reading:.6f} seconds{note}",
        "gpu_model_runner.py:1",
        "Worker_TP0",
    )
    if await _pause(max(0.0, min(compiling, limit - reading)) / scale, stop):
        return False
    if reading + compiling > limit:
        raise StartError(
            f"TimeoutError: Timed out waiting for engine core processes to start. This is often caused by slow weight "
            f"loading for large models. Waited {limit:g}s (configured by VLLM_ENGINE_READY_TIMEOUT_S). To increase the "
            "timeout, set the environment variable: VLLM_ENGINE_READY_TIMEOUT_S=<seconds>"
        )
    log.info(f"GPU KV cache size: {layout.kv_tokens:,} tokens", "kv_cache_utils.py:1", "EngineCore")
    log.info(
        f"Maximum concurrency for {layout.max_model_len:,} tokens per request: "
        f"{layout.kv_tokens / layout.max_model_len:.2f}x",
        "kv_cache_utils.py:1",
        "EngineCore",
    )
    return True


async def _pause(seconds: float, stop: asyncio.Event) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
    return stop.is_set()


async def _listen(serving: Serving, listener: socket.socket, drain_s: int, stop: asyncio.Event) -> None:
    """Serve until told to stop; then abort at once or, with --shutdown-timeout, drain first."""
    runner = web.AppRunner(Application(serving).build(), access_log=None, handler_cancellation=True, shutdown_timeout=2)
    await runner.setup()
    try:
        site = web.SockSite(runner, listener, backlog=2048)
        await site.start()
        host, port = listener.getsockname()[:2]
        log.info(f"Starting vLLM API server 0 on http://{host}:{port}")
        print("INFO:     Application startup complete.", flush=True)
        await stop.wait()
        print("INFO:     Shutting down", flush=True)
        serving.draining = True
        if drain_s:
            log.info(f"Draining {serving.engine.requests} requests for up to {drain_s} s", "launcher.py:1")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(drain_s):
                    await serving.engine.idle.wait()
        await site.stop()
        await serving.engine.abort_all()
    finally:
        await runner.cleanup()
    print("INFO:     Application shutdown complete.", flush=True)


def _cache_info(args: Namespace, layout: Layout) -> dict[str, str]:
    """Labels of vllm:cache_config_info that differ between servers."""
    return {
        "block_size": str(layout.block),
        "effective_attention_block_size": str(layout.block),
        "cache_dtype": args.kv_cache_dtype,
        "gpu_memory_utilization": f"{args.gpu_memory_utilization:g}",
        "kv_cache_max_concurrency": str(layout.kv_tokens / layout.max_model_len),
        "kv_cache_memory_bytes": str(args.kv_cache_memory_bytes),
        "kv_cache_size_tokens": str(layout.kv_tokens),
        "num_gpu_blocks": str(layout.blocks),
    }


def _fingerprint(args: Namespace) -> str:
    return f"vllm-{VERSION}-{hashlib.sha256(repr(sorted(vars(args).items())).encode()).hexdigest()[:8]}"
