"""The fields of ``params/models/*.yaml``: what is served, and with which engine settings."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from .monitoring import Slo
from .schema import Strict

Positive = Annotated[int, Field(gt=0)]

#: Flags that are fields of :class:`Model`: given twice they could contradict each other.
FLAGS_WITH_FIELDS = {
    "--max-model-len": "max_model_len",
    "--max-num-seqs": "max_num_seqs",
    "--max-num-batched-tokens": "max_num_batched_tokens",
    "--max-num-queued-reqs": "max_num_queued_reqs",
    "--tensor-parallel-size": "tensor_parallel_size",
    "-tp": "tensor_parallel_size",
    "--pipeline-parallel-size": "pipeline_parallel_size",
    "-pp": "pipeline_parallel_size",
    "--gpu-memory-utilization": "gpu_memory_utilization",
    "--dtype": "dtype",
    "--quantization": "quantization",
    "-q": "quantization",
    "--kv-cache-dtype": "kv_cache_dtype",
    "--served-model-name": "served_name",
    "--revision": "revision",
}


class Architecture(Strict):
    """The numbers of the model's ``config.json`` that memory depends on. ``params_billion`` counts 1e9 parameters.

    ``experts`` is the number of MLPs in a layer, 1 unless the model is a mixture of experts.
    """

    params_billion: float = Field(gt=0)
    layers: Positive
    kv_heads: Positive
    attention_heads: Positive
    head_dim: Positive
    hidden_size: Positive
    intermediate_size: Positive
    vocab_size: Positive
    max_position_embeddings: Positive
    experts: Positive = 1

    @model_validator(mode="after")
    def _heads_form_groups(self) -> Self:
        if self.attention_heads % self.kv_heads:
            raise ValueError("attention_heads must be a multiple of kv_heads (grouped-query attention)")
        return self


class Quantization(Strict):
    """Weights in fewer bits.

    ``online`` means that the hub's files are not quantized and the server does it while it loads
    (fp8 only): the GPU then holds half, the storage all. ``weight_gib`` is the size on the GPU for
    the whole model where the bits alone don't tell (MXFP4 models keep some layers in bf16).
    """

    method: Literal["fp8", "awq", "gptq", "mxfp4"]
    online: bool = False
    weight_gib: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _only_fp8_online(self) -> Self:
        if self.online and self.method != "fp8":
            raise ValueError("only method fp8 can be made while loading; others need a quantized checkpoint in hub_id")
        return self


class Model(Strict):
    """One model and how vLLM serves it. Lengths count tokens; ``gpu_memory_utilization`` is a share of a GPU.

    ``max_num_seqs`` and ``max_num_batched_tokens`` null leave the choice to vLLM, which depends on the GPU.
    ``max_num_queued_reqs`` is the admission limit, over running and waiting requests; null: four full batches.
    ``longest_output_tokens`` and ``slowest_tokens_per_second`` say how long one answer may take at
    worst; a server that is told to stop waits that long.
    """

    name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=63)
    hub_id: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    revision: str = Field(default="main", min_length=1)
    gated: bool = False
    architecture: Architecture
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    quantization: Quantization | None = None
    kv_cache_dtype: Literal["auto", "bfloat16", "float16", "fp8", "fp8_e4m3", "fp8_e5m2"] = "auto"
    max_model_len: int = Field(ge=16)
    max_num_seqs: Positive | None = None
    max_num_batched_tokens: Positive | None = None
    max_num_queued_reqs: Positive | None = None
    tensor_parallel_size: int = Field(default=1, ge=1, le=64)
    pipeline_parallel_size: int = Field(default=1, ge=1, le=64)
    gpu_memory_utilization: float = Field(default=0.92, gt=0, le=1)
    served_name: str = Field(min_length=1)
    extra_args: list[str] = Field(default_factory=list)
    expected_prompt_tokens: Positive
    expected_output_tokens: Positive
    longest_output_tokens: Positive = 2048
    slowest_tokens_per_second: float = Field(default=25, gt=0)
    slo: Slo = Slo()

    @field_validator("extra_args")
    @classmethod
    def _no_second_source(cls, args: list[str]) -> list[str]:
        for arg in args:
            field = FLAGS_WITH_FIELDS.get(arg.split("=", 1)[0])
            if field:
                raise ValueError(f"{arg.split('=', 1)[0]} has a field of its own: set {field} instead")
        return args

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return self.tensor_parallel_size * self.pipeline_parallel_size
