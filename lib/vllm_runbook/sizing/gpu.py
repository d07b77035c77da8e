"""GPU memory: what a server puts on each GPU, and how many tokens the rest can cache.

The rule is vLLM's own (``vllm/v1/worker/gpu_worker.py``): KV cache = total x utilization - (weights +
activation peak + non-torch) - CUDA graphs; adapters count as weights there. Weights, adapters and KV cache
follow from the architecture; the other three are measured by the server while it starts and estimated here,
each with its source. The server's log line ``GPU KV cache size: N tokens`` is the truth to compare with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..params import Model, Params, Platform
from .adapters import adapter_bytes

GIB = 2**30
BLOCK_TOKENS = 16
DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1}

#: Bytes per weight of quantized linear layers; 4-bit methods carry scales per group (of 128, of 32).
QUANTIZED_BYTES = {"fp8": 1.0, "awq": 4.25 / 8, "gptq": 4.25 / 8, "mxfp4": 4.25 / 8}

#: Bytes per (sequence x vocabulary entry) in the sampler's peak. Fits three published start-up logs with
#: 256 sequences: Llama-3-8B 1.2 GiB, Qwen3-8B 1.40 GiB, Qwen 32B on two GPUs 1.41 GiB.
SAMPLER_BYTES = 39

#: Non-torch memory: under 0.1 GiB on one GPU; with tensor parallelism NCCL buffers add about 0.7 GiB (same logs).
NON_TORCH_ONE_GPU = int(0.1 * GIB)
NON_TORCH_MORE_GPUS = int(0.75 * GIB)

#: CUDA graphs per layer on a GPU. The server prints the sum (``Graph capturing finished ..., took X GiB``):
#: 0.3 to 0.6 GiB for 32 layers, 1 GiB for 64.
GRAPH_BYTES_PER_LAYER = 16 * 2**20


@dataclass(frozen=True)
class GpuBudget:
    """Where the memory of one GPU goes, in bytes.

    Attributes:
        total: what the GPU has.
        usable: total x ``gpu_memory_utilization``: what the server allows itself.
        adapters: places for LoRA adapters.
    """

    total: int
    usable: int
    weights: int
    activations: int
    non_torch: int
    cuda_graphs: int
    adapters: int = 0

    @property
    def kv_cache(self) -> int:
        """What is left for the KV cache; negative when nothing is."""
        used = self.weights + self.adapters + self.activations + self.non_torch + self.cuda_graphs
        return self.usable - used


@dataclass(frozen=True)
class KvCache:
    """How much context fits.

    Attributes:
        bytes_per_token: per GPU.
        tokens: of all requests together, a multiple of the block size.
        at_max_len: how many requests of ``max_model_len`` tokens fit at once (vLLM's "maximum concurrency").
        at_expected_len: the same for the expected prompt + output.
    """

    bytes_per_token: int
    tokens: int
    at_max_len: float
    at_expected_len: float

    @property
    def blocks(self) -> int:
        """Blocks of 16 tokens, vLLM's unit of allocation."""
        return self.tokens // BLOCK_TOKENS


def weight_bytes(model: Model) -> int:
    """Bytes of the whole model's weights on the GPUs.

    Unquantized: parameters x bytes of the dtype. Quantized: embeddings and output layer keep the
    dtype, the rest takes the method's bits; ``quantization.weight_gib`` overrules where that isn't so.
    """
    parameters = model.architecture.params_billion * 1e9
    if model.quantization is None:
        return int(parameters * DTYPE_BYTES[model.dtype])
    if model.quantization.weight_gib is not None:
        return int(model.quantization.weight_gib * GIB)
    kept = 2 * model.architecture.vocab_size * model.architecture.hidden_size
    bits = QUANTIZED_BYTES[model.quantization.method]
    return int(kept * DTYPE_BYTES[model.dtype] + max(0.0, parameters - kept) * bits)


def file_bytes(model: Model) -> int:
    """Bytes of the weight files on the hub: as on the GPUs, unless the server quantizes while it loads."""
    if model.quantization is not None and model.quantization.online:
        return int(model.architecture.params_billion * 1e9 * DTYPE_BYTES[model.dtype])
    return weight_bytes(model)


def weight_bytes_per_gpu(model: Model) -> int:
    """Weights of the fullest GPU.

    Tensor parallelism cuts every layer in TP parts. Pipeline parallelism deals out whole layers, and
    the first and last stage also hold an embedding or output matrix.
    """
    shape, total = model.architecture, weight_bytes(model)
    if model.pipeline_parallel_size == 1:
        return math.ceil(total / model.tensor_parallel_size)
    embedding = shape.vocab_size * shape.hidden_size * DTYPE_BYTES[model.dtype]
    layers = max(0, total - 2 * embedding) * layers_per_gpu(model) / shape.layers
    return math.ceil((layers + embedding) / model.tensor_parallel_size)


def layers_per_gpu(model: Model) -> int:
    """Layers of the fullest pipeline stage."""
    return math.ceil(model.architecture.layers / model.pipeline_parallel_size)


def kv_bytes_per_token(model: Model) -> int:
    """KV cache of one token on one GPU: layers/PP x max(1, KV heads/TP) x 2 (K and V) x head dim x bytes.

    With more GPUs than KV heads each GPU keeps a copy of one head: past that, TP saves nothing.
    For models with sliding-window layers (gpt-oss) this is an upper bound.
    """
    shape = model.architecture
    dtype = model.dtype if model.kv_cache_dtype == "auto" else model.kv_cache_dtype
    heads = max(1, math.ceil(shape.kv_heads / model.tensor_parallel_size))
    return layers_per_gpu(model) * heads * 2 * shape.head_dim * DTYPE_BYTES[dtype]


def scheduler_limits(model: Model, platform: Platform) -> tuple[int, int]:
    """``max_num_seqs`` and ``max_num_batched_tokens``: the model's, else vLLM's defaults for this GPU.

    vLLM 0.32: 1024/16384 from 160 GiB, 1024/8192 from 70 GiB but not on an A100, else 256/2048.
    """
    gpu = platform.gpu
    if gpu.memory_gib >= 160:
        seqs, tokens = 1024, 16384
    elif gpu.memory_gib >= 70 and "a100" not in gpu.product.lower():
        seqs, tokens = 1024, 8192
    else:
        seqs, tokens = 256, 2048
    return model.max_num_seqs or seqs, model.max_num_batched_tokens or tokens


def activation_bytes(model: Model, platform: Platform) -> int:
    """Estimated peak of the profiling run: the larger of one full batch in a layer, and the sampler's logits.

    A layer holds, per token of the batch, the residual stream twice and q, k, v (about 4 x hidden size)
    and gate, up and their product of the MLP (3 x intermediate size / TP). The sampler works on float
    logits of all sequences x vocabulary, gathered on one GPU whatever TP is.
    """
    shape = model.architecture
    seqs, tokens = scheduler_limits(model, platform)
    width = 4 * shape.hidden_size + 3 * shape.intermediate_size / model.tensor_parallel_size
    layer = tokens * width * DTYPE_BYTES[model.dtype]
    return math.ceil(max(layer, seqs * shape.vocab_size * SAMPLER_BYTES))


def gpu_budget(params: Params) -> GpuBudget:
    """The memory of one GPU, all shares in bytes."""
    model, total = params.model, int(params.platform.gpu.memory_gib * GIB)
    eager = "--enforce-eager" in model.extra_args
    return GpuBudget(
        total=total,
        usable=int(total * model.gpu_memory_utilization),
        weights=weight_bytes_per_gpu(model),
        activations=activation_bytes(model, params.platform),
        non_torch=NON_TORCH_ONE_GPU if model.gpus == 1 else NON_TORCH_MORE_GPUS,
        cuda_graphs=0 if eager else layers_per_gpu(model) * GRAPH_BYTES_PER_LAYER,
        adapters=adapter_bytes(model, layers_per_gpu(model), DTYPE_BYTES[model.dtype]),
    )


def kv_cache(params: Params, budget: GpuBudget) -> KvCache:
    """What the rest of the budget can cache."""
    model, per_token = params.model, kv_bytes_per_token(params.model)
    blocks = max(0, budget.kv_cache) // (per_token * BLOCK_TOKENS)
    tokens = blocks * BLOCK_TOKENS
    expected = model.expected_prompt_tokens + model.expected_output_tokens
    return KvCache(per_token, tokens, tokens / model.max_model_len, tokens / min(expected, model.max_model_len))
