"""LoRA adapters as the server takes them: ``--lora-modules``, checked at the start, and what they cost.

Read in vLLM 0.32.0: LoRAParserAction (entrypoints/launchers/cli_args.py), OpenAIServingModels
(entrypoints/openai/models/serving.py), PEFTHelper (lora/peft_helper.py), LoRAAdapterNotFoundError (exceptions.py), the
gauge (v1/metrics/loggers.py) and what its labels hold (v1/metrics/stats.py), sanitize_message
(entrypoints/serve/exception_handling/utils.py).
"""

from __future__ import annotations

import argparse
import json
import re
import time
from argparse import Namespace
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from vllm_sandbox.vllm.checkpoint import Checkpoint, StartError

_CALL = "ValueError: Call to add_lora method failed: "
_OF_A_WORKER = "Worker failed with error '{}', please check the stack trace above for the root cause"
_A_SYSTEMS = re.compile(r"/(?:home|lib|mnt|opt|root|srv|tmp|usr|var)(?:/[\w.-]+)+")
_A_FILE = re.compile(r"(?:/[\w-]+)+/[\w-]+\.\w+")


@dataclass(frozen=True)
class Adapter:
    """An adapter by the name that requests give as model."""

    name: str
    path: str


class Modules(argparse.Action):
    """``--lora-modules name=path …``, or each as a JSON object."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        found = []
        for item in values or ():
            if not item:
                continue
            if "=" in item and "," not in item:
                name, path = item.split("=", 1)
                found.append(Adapter(name, path))
                continue
            try:
                told = json.loads(item)
                found.append(Adapter(told["name"], told["path"]))
            except json.JSONDecodeError:
                parser.error(f"Invalid JSON format for --lora-modules: {item}")
            except (KeyError, TypeError) as error:
                parser.error(f"Invalid fields for --lora-modules: {item} - {error}")
        setattr(namespace, self.dest, found)


def take_out(body: dict[str, Any], adapters: list[Adapter]) -> str:
    """The adapter that a request names as its model; the rest of the request is then the model's own.

    Empty if it names none.
    """
    name = body.get("model")
    if not any(each.name == name for each in adapters):
        return ""
    del body["model"]
    return str(name)


def load(args: Namespace) -> list[Adapter]:
    """The adapters of the start: loaded after the model, and before the port answers.

    Raises:
        StartError: LoRA isn't enabled, an adapter isn't there, or its rank is larger than what room is made for.
    """
    adapters: list[Adapter] = args.lora_modules or []
    for adapter in adapters:
        if not args.enable_lora:
            raise _refused("LoRA is not enabled. Use --enable-lora to enable LoRA.", args)
        file = Path(adapter.path) / "adapter_config.json"
        weights = file.with_name("adapter_model.safetensors")
        if not file.is_file() or not weights.is_file():
            place = without_paths(adapter.path)
            raise StartError(f"ValueError: Loading lora {adapter.name} failed: No adapter found for {place}")
        rank, most = int(json.loads(file.read_text())["r"]), int(args.max_lora_rank)
        if rank > most:
            raise _refused(f"LoRA rank {rank} is greater than max_lora_rank {most}.", args)
    return adapters


def without_paths(message: str) -> str:
    """A message as an error response has it, of which this is one: the server tells nobody its directories.

    Those are hidden that a system has, and files with an extension; ``/models/org/name`` is told.
    """
    return _A_FILE.sub("<path>", _A_SYSTEMS.sub("<path>", message))


def _refused(why: str, args: Namespace) -> StartError:
    """Of one GPU the engine's own words; of several those of a worker's process, which it quotes."""
    return StartError(
        _CALL + (_OF_A_WORKER.format(why) if args.tensor_parallel_size * args.pipeline_parallel_size > 1 else why)
    )


def reserved_bytes(args: Namespace, model: Checkpoint, layers: int) -> int:
    """GPU memory for ``--max-loras`` adapters of the largest rank: both matrices of every module (``lora/layers``).

    Tensor parallelism cuts one of the two: the output's side of q, k, v, gate and up, the input's of o and down.
    """
    if not args.enable_lora:
        return 0
    queries, keys = model.heads * model.head_dim, model.kv_heads * model.head_dim
    cut = 2 * queries + 2 * keys + 3 * model.intermediate
    width = layers * (7 * model.hidden + cut / args.tensor_parallel_size) + 2 * (model.vocab + model.hidden)
    return int(int(args.max_loras) * int(args.max_lora_rank) * width * 2)


class Request(Protocol):
    """What the gauge must know of a request."""

    adapter: str
    arrived: float


class Gauge:
    """``vllm:lora_requests_info``: the time at which the adapters of its labels ran and waited.

    Both labels have every adapter with a request, whether that runs or waits: they are the keys of two counts, and
    both counts have the same. A new series for each combination, written at every step; none before the first.
    """

    def __init__(self, max_loras: int) -> None:
        self._max_loras = max_loras
        self._at: dict[str, float] = {}

    def step(self, sequences: Iterable[Request]) -> None:
        """A step has ended; what runs and waits now."""
        inside = sorted((each for each in sequences if each.adapter), key=lambda each: each.arrived)
        self._at[",".join(dict.fromkeys(each.adapter for each in inside))] = time.time()

    def lines(self) -> list[str]:
        """Lines of the page."""
        return [
            "# TYPE vllm:lora_requests_info gauge",
            *(
                f'vllm:lora_requests_info{{max_lora="{self._max_loras}",running_lora_adapters="{names}",'
                f'waiting_lora_adapters="{names}"}} {at!r}'
                for names, at in self._at.items()
            ),
        ]
