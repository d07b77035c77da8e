"""GPU memory as the server accounts for it while it starts, and the errors when it isn't enough.

KV cache = total x utilization - (weights + activation peak + non-torch) - CUDA graphs (vLLM,
v1/worker/gpu_worker.py). The middle three are estimates; the constants fit published start-up logs.
"""

from __future__ import annotations

import math
from argparse import Namespace
from dataclasses import dataclass

from vllm_sandbox.vllm import lora
from vllm_sandbox.vllm.checkpoint import Checkpoint, StartError

GIB = 2**30
BLOCK = 16
SAMPLER_BYTES = 39  # per sequence and vocabulary entry
GRAPH_BYTES_PER_LAYER = 16 * 2**20
KV_BYTES = {"fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1, "int8_per_token_head": 1, "fp8_per_token_head": 1}


@dataclass(frozen=True)
class Gpu:
    """One GPU that the container was given."""

    product: str
    memory_bytes: int


@dataclass(frozen=True)
class Layout:
    """What a server has after its start.

    Attributes:
        weight_bytes: on each GPU.
        kv_tokens: that the cache holds, a multiple of the block size.
        kv_bytes_per_token: on each GPU.
        block: tokens of a block of the cache.
    """

    weight_bytes: int
    kv_tokens: int
    kv_bytes: int
    kv_bytes_per_token: int
    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int
    block: int = BLOCK

    @property
    def blocks(self) -> int:
        return self.kv_tokens // self.block


def scheduler_limits(args: Namespace, gpu: Gpu) -> tuple[int, int]:
    """``max_num_seqs`` and ``max_num_batched_tokens``: given, or the defaults for this GPU."""
    if gpu.memory_bytes >= 160 * GIB:
        seqs, tokens = 1024, 16384
    elif gpu.memory_bytes >= 70 * GIB and "a100" not in gpu.product.lower():
        seqs, tokens = 1024, 8192
    else:
        seqs, tokens = 256, 2048
    return args.max_num_seqs or seqs, args.max_num_batched_tokens or tokens


def max_model_len(args: Namespace, model: Checkpoint) -> int:
    """The context length, given or the model's.

    Raises:
        StartError: longer than the model allows.
    """
    length = args.max_model_len or model.max_positions
    if length > model.max_positions:
        raise StartError(
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig",
            f"  Value error, User-specified max_model_len ({length}) is greater than the derived max_model_len "
            f"(max_position_embeddings={model.max_positions}.0 or model_max_length=None in model's config.json). To "
            "allow overriding this maximum, set the env var VLLM_ALLOW_LONG_MAX_MODEL_LEN=1. "
            "[type=value_error, input_value=ArgsKwargs(...)]",
            "    For further information visit https://errors.pydantic.dev/2.14/v/value_error",
        )
    return int(length)


def check_parallelism(args: Namespace, model: Checkpoint, gpus: list[Gpu]) -> None:
    """Whether heads and GPUs can be dealt out.

    Raises:
        StartError: they can't.
    """
    tp, pp = args.tensor_parallel_size, args.pipeline_parallel_size
    if model.heads % tp:
        raise StartError(
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for VllmConfig",
            f"  Value error, Total number of attention heads ({model.heads}) must be divisible by tensor parallel size "
            f"({tp}). [type=value_error, input_value=ArgsKwargs(...)]",
            "    For further information visit https://errors.pydantic.dev/2.14/v/value_error",
        )
    if tp * pp > len(gpus):
        raise StartError(
            f"ValueError: World size ({tp * pp}) is larger than the number of available GPUs ({len(gpus)}) in this "
            "node."
        )


def weights_per_gpu(args: Namespace, model: Checkpoint) -> int:
    """Weights of the fullest GPU, quantized while loading if asked for."""
    total = model.weight_bytes
    if args.dtype in ("float", "float32"):
        total *= 2
    if args.quantization == "fp8":
        kept = 2 * model.vocab * model.hidden * 2
        total = kept + max(0, total - kept) // 2
    shares: int = args.tensor_parallel_size * args.pipeline_parallel_size
    return math.ceil(total / shares)


def lay_out(args: Namespace, model: Checkpoint, gpu: Gpu) -> Layout:
    """Deal the GPU's memory out.

    Raises:
        StartError: weights don't fit, nothing is left for the cache, or not enough for one request.
    """
    tp, pp = args.tensor_parallel_size, args.pipeline_parallel_size
    seqs, tokens = scheduler_limits(args, gpu)
    length = max_model_len(args, model)
    layers = math.ceil(model.layers / pp)
    weights = weights_per_gpu(args, model) + lora.reserved_bytes(args, model, layers)
    projections = 2 * model.hidden * model.intermediate * 2 / tp
    if weights > gpu.memory_bytes:  # while loading, at one layer's gate and up projections
        raise _out_of_memory(projections, min(projections / 2, 2**27), gpu)
    width = 4 * model.hidden + 3 * model.intermediate / tp
    activations = math.ceil(max(tokens * width * 2, seqs * model.vocab * SAMPLER_BYTES))
    non_torch = int((0.1 if tp * pp == 1 else 0.75) * GIB)
    free = gpu.memory_bytes - weights - non_torch
    if activations > free:  # in the profiling run: torch knows nothing of gpu_memory_utilization
        batch, logits = tokens * 2 * model.intermediate * 2 / tp, seqs * model.vocab * 4
        tried = max(batch, logits)
        raise _out_of_memory(tried, min(free, tried / 2), gpu)
    graphs = 0 if args.enforce_eager else layers * GRAPH_BYTES_PER_LAYER
    usable = int(gpu.memory_bytes * args.gpu_memory_utilization)
    available = args.kv_cache_memory_bytes or usable - weights - activations - non_torch - graphs
    if available <= 0:
        raise StartError(
            "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when "
            "initializing the engine."
        )
    per_token = (
        layers * max(1, math.ceil(model.kv_heads / tp)) * 2 * model.head_dim * KV_BYTES.get(args.kv_cache_dtype, 2)
    )
    block = args.block_size or BLOCK
    cached = available // (per_token * block) * block
    if args.num_gpu_blocks_override:
        cached = args.num_gpu_blocks_override * block
    if cached < length:
        raise StartError(
            f"ValueError: To serve at least one request with the model's max seq len ({length}), "
            f"({length * per_token / GIB:.2f} GiB KV cache is needed, which is larger than the available KV cache "
            f"memory ({available / GIB:.2f} GiB). Based on the available memory, the estimated maximum model length is "
            f"{cached}. Try increasing `gpu_memory_utilization` or decreasing `max_model_len` when initializing the "
            "engine."
        )
    return Layout(weights, cached, available, per_token, seqs, tokens, length, block)


def _out_of_memory(tried: float, free: float, gpu: Gpu) -> StartError:
    """An allocation of ``tried`` bytes with only ``free`` left, as torch tells it."""
    return StartError(
        f"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate {_size(tried)}. GPU 0 has a total capacity of "
        f"{gpu.memory_bytes / GIB:.2f} GiB of which {_size(free)} is free."
    )


def _size(count: float) -> str:
    return f"{count / GIB:.2f} GiB" if count >= GIB else f"{count / 2**20:.2f} MiB"
