"""Whether a server would start, and if not why, with the message that one would see."""

from __future__ import annotations

from dataclasses import dataclass

from ..params import Params
from .gpu import GIB, GpuBudget, KvCache
from .timing import Storage


@dataclass(frozen=True)
class Reason:
    """Why it can't work.

    Attributes:
        code: stable name: ``heads``, ``gpus``, ``length``, ``weights``, ``no_cache``, ``small_cache``, ``claim``.
        text: the arithmetic.
        symptom: what one would see on the cluster.
    """

    code: str
    text: str
    symptom: str

    def __str__(self) -> str:
        return f"{self.text} On the cluster: {self.symptom}"


def reasons(params: Params, budget: GpuBudget, cache: KvCache, storage: Storage) -> tuple[Reason, ...]:
    """Everything that keeps a server from starting; empty when it fits."""
    return (*_parallelism(params), *_length(params), *_memory(params, budget, cache), *_claim(storage))


def _parallelism(params: Params) -> list[Reason]:
    model, gpu = params.model, params.platform.gpu
    shape, tp = model.architecture, model.tensor_parallel_size
    found: list[Reason] = []
    if shape.attention_heads % tp:
        heads = shape.attention_heads
        symptom = f"Total number of attention heads ({heads}) must be divisible by tensor parallel size ({tp})."
        found.append(Reason("heads", f"{heads} attention heads can't be dealt to {tp} GPUs.", symptom))
    elif max(shape.kv_heads, tp) % min(shape.kv_heads, tp):
        text = f"{shape.kv_heads} KV heads can't be dealt to {tp} GPUs: one number must divide the other."
        found.append(Reason("heads", text, "an assertion fails while the model is built, and the container restarts."))
    if model.gpus > gpu.per_node:
        wanted = f"{model.gpus} GPUs (TP {tp} x PP {model.pipeline_parallel_size})"
        text = f"A replica wants {wanted} on one node; a node has {gpu.per_node}."
        found.append(Reason("gpus", text, f"the pod stays Pending: Insufficient {gpu.resource}."))
    return found


def _length(params: Params) -> list[Reason]:
    length, limit = params.model.max_model_len, params.model.architecture.max_position_embeddings
    if length <= limit:
        return []
    text = f"max_model_len {length} exceeds the {limit} positions that the model was trained for."
    symptom = f"User-specified max_model_len ({length}) is greater than the derived max_model_len ({limit})"
    return [Reason("length", text, symptom)]


def _memory(params: Params, budget: GpuBudget, cache: KvCache) -> list[Reason]:
    share = f"{budget.total / GIB:.1f} GiB x {params.model.gpu_memory_utilization:g} = {budget.usable / GIB:.1f} GiB"
    if budget.weights + budget.non_torch > budget.total:
        text = f"The weights take {budget.weights / GIB:.1f} GiB per GPU, which has {budget.total / GIB:.1f} GiB."
        return [Reason("weights", text, "torch.OutOfMemoryError: CUDA out of memory, while the weights load.")]
    if budget.kv_cache <= 0:
        used = (budget.usable - budget.kv_cache) / GIB
        text = f"Weights, activations and overhead take {used:.1f} GiB per GPU; the server may use {share}."
        return [Reason("no_cache", text, "No available memory for the cache blocks.")]
    length = params.model.max_model_len
    if cache.tokens < length:
        needed, left = f"{length * cache.bytes_per_token / GIB:.2f} GiB", f"{budget.kv_cache / GIB:.2f} GiB"
        text = f"One request of {length} tokens needs {needed} of KV cache; of {share}, {left} are left."
        symptom = (
            f"To serve at least one request with the model's max seq len ({length}), ({needed} KV cache is needed, "
            f"which is larger than the available KV cache memory ({left})."
        )
        return [Reason("small_cache", text, symptom)]
    return []


def _claim(storage: Storage) -> list[Reason]:
    if storage.claim_bytes >= storage.files_bytes:
        return []
    text = f"The files take {storage.files_bytes / GIB:.1f} GiB; storage.size is {storage.claim}."
    return [Reason("claim", text, "the prefetch Job fails: No space left on device.")]
