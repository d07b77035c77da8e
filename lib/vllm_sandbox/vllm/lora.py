"""LoRA adapters as the server takes them: ``--lora-modules``, checked at the start, and what they cost.

The words are vLLM's: LoRAParserAction (entrypoints/openai/cli_args.py), PEFTHelper (lora/peft_helper.py),
LoRAAdapterNotFoundError (exceptions.py), and the gauge of v1/metrics/loggers.py.
"""

from __future__ import annotations

import argparse
import json
import time
from argparse import Namespace
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllm_sandbox.vllm.checkpoint import Checkpoint, StartError


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
                name, path = item.split("=")
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


def load(args: Namespace) -> list[Adapter]:
    """The adapters of the start; each is looked at, as the server loads each before it serves.

    Raises:
        StartError: LoRA isn't enabled, an adapter isn't there, or its rank is larger than what room is made for.
    """
    adapters: list[Adapter] = args.lora_modules or []
    for adapter in adapters:
        if not args.enable_lora:
            raise StartError("RuntimeError: LoRA is not enabled. Use --enable-lora to enable LoRA.")
        file = Path(adapter.path) / "adapter_config.json"
        weights = file.with_name("adapter_model.safetensors")
        if not file.is_file() or not weights.is_file():
            raise StartError(
                "vllm.exceptions.LoRAAdapterNotFoundError: "
                f"Loading lora {adapter.name} failed: No adapter found for {adapter.path}"
            )
        rank, most = int(json.loads(file.read_text())["r"]), int(args.max_lora_rank)
        if rank > most:
            raise StartError(f"ValueError: LoRA rank {rank} is greater than max_lora_rank {most}.")
    return adapters


def reserved_bytes(args: Namespace, model: Checkpoint) -> int:
    """GPU memory for ``--max-loras`` adapters of the largest rank: both matrices of every linear layer."""
    if not args.enable_lora:
        return 0
    queries, keys = model.heads * model.head_dim, model.kv_heads * model.head_dim
    width = 2 * (model.hidden + queries) + 2 * (model.hidden + keys) + 3 * (model.hidden + model.intermediate)
    return int(args.max_loras) * int(args.max_lora_rank) * width * model.layers * 2


class Gauge:
    """``vllm:lora_requests_info``: the time at which the adapters of its labels ran and waited.

    A new series for each combination, written at every step; none before the first.
    """

    def __init__(self, max_loras: int) -> None:
        self._max_loras = max_loras
        self._at: dict[tuple[str, str], float] = {}

    def step(self, running: Iterable[str], waiting: Iterable[str]) -> None:
        names = ",".join(dict.fromkeys(filter(None, running))), ",".join(dict.fromkeys(filter(None, waiting)))
        self._at[names] = time.time()

    def lines(self) -> list[str]:
        """Lines of the page."""
        return [
            "# TYPE vllm:lora_requests_info gauge",
            *(
                f'vllm:lora_requests_info{{max_lora="{self._max_loras}",running_lora_adapters="{running}",'
                f'waiting_lora_adapters="{waiting}"}} {at!r}'
                for (running, waiting), at in self._at.items()
            ),
        ]
