"""What would make a model fit: candidates, each kept only if sizing it again says that it does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..params import Params
from .gpu import file_bytes
from .timing import quantity_bytes

#: GPU memory that can be rented or bought, as nvidia-smi reports it in GiB, smallest first.
GPUS = (
    (22.5, "L4, A10G"),
    (45.0, "L40S"),
    (80.0, "A100 80GB"),
    (95.6, "RTX PRO 6000"),
    (140.4, "H200"),
    (179.0, "B200"),
)

#: ``check(params) -> (whether it fits, tokens that the KV cache holds)``
Check = Callable[[Params], tuple[bool, int]]
Changes = dict[str, Any]
Candidate = tuple[str, Changes]


@dataclass(frozen=True)
class Remedy:
    """A change that makes it fit, verified.

    Attributes:
        text: what to do, and what it costs.
        overrides: the change as overrides, to give to ``load`` or ``runbook run -p``.
        kv_tokens: tokens that the KV cache then holds.
    """

    text: str
    overrides: Mapping[str, Any]
    kv_tokens: int

    def __str__(self) -> str:
        changes = ", ".join(f"{name}={value}" for name, value in self.overrides.items())
        return f"{self.text} ({changes}; KV cache then {self.kv_tokens} tokens)"


def remedies(params: Params, check: Check) -> tuple[Remedy, ...]:
    """The changes that make ``params`` fit, cheapest first; empty if none of those known does.

    Mistakes with one answer (a claim smaller than the files, a context longer than the model's) are
    mended in every remedy. Two changes are combined only where no single one is enough. Other nodes
    come last.
    """
    text, mended = _mended(params)
    fixed = params.replace(mended)
    if mended and check(fixed)[0]:
        return _verified(params, check, mended, [(text, {})])
    settings = _verified(params, check, mended, _single(fixed, check))
    settings = settings or _verified(params, check, mended, _double(fixed, check))
    return settings + _verified(params, check, mended, _other_nodes(fixed, check))


def _verified(params: Params, check: Check, mended: Changes, candidates: Iterable[Candidate]) -> tuple[Remedy, ...]:
    found: list[Remedy] = []
    for text, changes in candidates:
        overrides = {**mended, **changes}
        fits, tokens = check(params.replace(overrides))
        if fits:
            found.append(Remedy(text, overrides, tokens))
    return tuple(found)


def _mended(params: Params) -> Candidate:
    texts, changes = [], Changes()
    limit = params.model.architecture.max_position_embeddings
    if params.model.max_model_len > limit:
        texts.append(f"No more context than the model's {limit} tokens")
        changes["model.max_model_len"] = limit
    size = params.platform.storage.size
    if size is not None and quantity_bytes(size) < file_bytes(params.model):
        texts.append("A claim as large as the weights ask for")
        changes["platform.storage.size"] = None
    return "; ".join(texts), changes


def _single(params: Params, check: Check) -> Iterator[Candidate]:
    yield from _shorter(params, check, {}, "A shorter context")
    if params.model.kv_cache_dtype in ("auto", "bfloat16", "float16"):
        yield "KV cache in fp8: half the size, slightly less exact", {"model.kv_cache_dtype": "fp8"}
    yield from _fewer_requests(params, check)
    yield from _parallel(params, check, {}, "")
    yield from _quantized(params)


def _double(params: Params, check: Check) -> Iterator[Candidate]:
    for text, changes in _quantized(params):
        yield from _shorter(params, check, changes, f"{text}; and a shorter context")
        yield from _parallel(params, check, changes, f"{text}; and ")


def _shorter(params: Params, check: Check, other: Changes, text: str) -> Iterator[Candidate]:
    """The longest context that fits, if it still holds an ordinary request."""
    model = params.model
    tokens = min(check(params.replace(other))[1], model.max_model_len)
    length = tokens // 1024 * 1024 or tokens
    if model.expected_prompt_tokens + model.expected_output_tokens <= length < model.max_model_len:
        yield f"{text}: at most {length} tokens", {**other, "model.max_model_len": length}


def _fewer_requests(params: Params, check: Check) -> Iterator[Candidate]:
    """The most requests at once that fit: the sampler's memory grows with them."""
    for seqs in (512, 256, 128, 64, 32, 16):
        changes = {"model.max_num_seqs": seqs}
        smaller = params.model.max_num_seqs is None or seqs < params.model.max_num_seqs
        if smaller and check(params.replace(changes))[0]:
            yield f"Fewer requests at once: {seqs}", changes
            return


def _parallel(params: Params, check: Check, other: Changes, text: str) -> Iterator[Candidate]:
    for size in (1, 2, 4, 8, 16):
        if size * params.model.pipeline_parallel_size > params.platform.gpu.per_node:
            return
        if size == params.model.tensor_parallel_size:
            continue
        changes = {**other, "model.tensor_parallel_size": size}
        label = f"{text}tensor parallelism over {size} GPUs" if size > 1 else f"{text}one GPU"
        label = label[0].upper() + label[1:]
        if check(params.replace(changes))[0]:
            yield label, changes
        else:
            yield from _shorter(params, check, changes, f"{label}; and a shorter context")


def _quantized(params: Params) -> Iterator[Candidate]:
    if params.model.quantization is not None:
        return
    fp8 = {"model.quantization": {"method": "fp8", "online": True}}
    yield "Weights in fp8, made while loading: half the size", fp8
    awq = {"model.quantization": {"method": "awq"}}
    yield "Weights in 4 bits: a quarter of the size; set hub_id to an AWQ checkpoint of this model", awq


def _other_nodes(params: Params, check: Check) -> Iterator[Candidate]:
    """The smallest other node that fits: more GPUs, or larger ones; one suggestion is enough."""
    gpu = params.platform.gpu
    more: Changes = {}
    text = "Nodes with"
    if params.model.gpus > gpu.per_node:
        if params.model.gpus > 16:
            return
        more, text = {"platform.gpu.per_node": params.model.gpus}, f"Nodes with {params.model.gpus} GPUs"
        yield text, more
        text += " and"
    for memory, product in GPUS:
        changes = {**more, "platform.gpu.memory_gib": memory, "platform.gpu.product": product}
        if memory > gpu.memory_gib and check(params.replace(changes))[0]:
            yield f"{text} larger GPUs: {product}, {memory:g} GiB", changes
            return
