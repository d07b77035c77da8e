"""A sizing as rows and as text. Same parameters, same words: notebooks compare them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .gpu import GIB, weight_bytes

if TYPE_CHECKING:
    from .core import Sizing


def table(sizing: Sizing) -> list[tuple[str, str, str]]:
    """Rows of name, value, and the formula or source."""
    return [*_gpu_rows(sizing), *_pod_rows(sizing)]


def _gpu_rows(sizing: Sizing) -> list[tuple[str, str, str]]:
    gpu, kv, model = sizing.gpu, sizing.kv, sizing.params.model
    expected = model.expected_prompt_tokens + model.expected_output_tokens
    whole = _gib(weight_bytes(model))
    split = f"{whole} / TP {model.tensor_parallel_size} / PP {model.pipeline_parallel_size}"
    return [
        ("GPUs per replica", str(model.gpus), f"of {sizing.params.platform.gpu.per_node} per node"),
        ("GPU memory the server uses", _gib(gpu.usable), f"{_gib(gpu.total)} x {model.gpu_memory_utilization:g}"),
        ("weights per GPU", _gib(gpu.weights), split),
        *([("LoRA adapters", _gib(gpu.adapters), "max_loras x max_lora_rank x widths")] if gpu.adapters else []),
        ("activation peak", _gib(gpu.activations), "estimate; the server measures it"),
        ("non-torch memory", _gib(gpu.non_torch), "estimate; the server measures it"),
        ("CUDA graphs", _gib(gpu.cuda_graphs), "estimate; the server measures it"),
        ("left for the KV cache", _gib(gpu.kv_cache), "the rest"),
        (
            "KV cache per token and GPU",
            f"{kv.bytes_per_token / 1024:g} KiB",
            "layers x KV heads x 2 x head dim x bytes",
        ),
        ("KV cache", f"{kv.tokens} tokens", f"{kv.blocks} blocks of 16"),
        (f"requests at {model.max_model_len} tokens", f"{kv.at_max_len:.2f}", "max_model_len"),
        (f"requests at {expected} tokens", f"{kv.at_expected_len:.1f}", "expected prompt + output"),
    ]


def _pod_rows(sizing: Sizing) -> list[tuple[str, str, str]]:
    host, start, end, rest = sizing.host, sizing.startup, sizing.shutdown, sizing.storage
    scale = sizing.params.platform.time_scale
    here = f"; / {scale:g} here = {start.load_seconds / scale:.0f} s" if scale != 1 else ""
    probe = f"{start.period_seconds} s x {start.failure_threshold}"
    drain = f"{end.prestop_seconds} s preStop + {end.shutdown_timeout_seconds} s drain + margin"
    return [
        ("CPU", str(host.cpu), "2 per process: API server, engine, one worker per GPU"),
        ("admission limit", f"{host.max_num_queued_reqs} requests", "max_num_queued_reqs, or four full batches"),
        ("host memory", f"{host.memory_gib}Gi", "processes, /dev/shm, admitted requests; not the weights"),
        ("/dev/shm", f"{host.shm_gib}Gi", "exchange between the GPUs' workers"),
        ("weight files", _gib(rest.files_bytes), "on the hub"),
        ("claim", rest.claim, "files x 1.2 + 1 GiB, or storage.size"),
        ("prefetch deadline", f"{rest.prefetch_deadline_seconds} s", "3 x download + 10 min"),
        ("load time", f"{start.load_seconds:.0f} s", f"estimate: start + read + compile{here}"),
        ("VLLM_ENGINE_READY_TIMEOUT_S", str(start.engine_ready_timeout_seconds), "2 x load time, at least 600"),
        ("startupProbe", probe, "outlasts the engine's own timeout"),
        ("termination grace period", f"{end.grace_period_seconds} s", drain),
    ]


def explain(sizing: Sizing) -> str:
    """The verdict, the arithmetic, and what to do."""
    model, gpu = sizing.params.model, sizing.params.platform.gpu
    what = f"{model.name} on {model.gpus} x {gpu.product} ({gpu.memory_gib:g} GiB)"
    lines = [f"{what}: {'fits' if sizing.fits else 'does not fit'}."]
    lines += [f"- {reason}" for reason in sizing.reasons]
    if sizing.fits:
        lines += [
            f"- Per GPU: {_gib(sizing.gpu.weights)} weights, {_gib(sizing.gpu.kv_cache)} KV cache.",
            f"- The KV cache holds {sizing.kv.tokens} tokens: {sizing.kv.at_max_len:.2f} requests of "
            f"{model.max_model_len} tokens; {sizing.concurrency} of the expected length run at once.",
        ]
        lines += [f"- {note}" for note in sizing.notes]
    elif sizing.remedies:
        lines += ["What makes it fit (each one sized again):", *(f"- {remedy}" for remedy in sizing.remedies)]
    else:
        lines.append("No single change that we know makes it fit: combine several, or choose a smaller model.")
    return "\n".join(lines)


def _gib(value: int) -> str:
    return f"{value / GIB:.2f} GiB"
