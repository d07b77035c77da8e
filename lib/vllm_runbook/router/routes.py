"""The file that the router reads: its models, and the servers behind them."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator


class RoutesError(ValueError):
    """The file can't be used; the message names the field, its value and what is allowed."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Backend(_Strict):
    """One Service of servers.

    Attributes:
        name: its model's name in the router's metrics.
        url: without ``/v1``.
        hold_seconds: how long a request is kept while nobody is ready there.
    """

    name: str = Field(min_length=1)
    url: str = Field(pattern="^https?://")
    hold_seconds: float = Field(gt=0)


class Card(_Strict):
    """A model or an adapter, as ``/v1/models`` shows it; ``parent`` is an adapter's base model."""

    id: str = Field(min_length=1)
    backend: str
    root: str
    parent: str | None = None
    max_model_len: int | None = None


class Routes(_Strict):
    """Everything that one router serves. ``queue_per_model``: requests held for one backend at most."""

    queue_per_model: int = Field(gt=0)
    backends: list[Backend] = Field(min_length=1)
    models: list[Card] = Field(min_length=1)

    @model_validator(mode="after")
    def _every_model_has_one_place(self) -> Self:
        backends = [backend.name for backend in self.backends]
        ids = [card.id for card in self.models]
        for names, what in ((backends, "backend"), (ids, "model")):
            if len(set(names)) < len(names):
                raise ValueError(f"a {what} is named twice: {', '.join(sorted(names))}")
        known = set(backends)
        for card in self.models:
            if card.backend not in known:
                raise ValueError(f"model {card.id}: backend {card.backend!r} is none of {', '.join(backends)}")
        return self

    def backend_of(self, model: str) -> Backend | None:
        """Where a model is served; None for one that nobody knows."""
        return self._places.get(model)

    @cached_property
    def _places(self) -> dict[str, Backend]:
        backends = {backend.name: backend for backend in self.backends}
        return {card.id: backends[card.backend] for card in self.models}

    def listing(self, created: int) -> dict[str, Any]:
        """The answer of ``/v1/models``, with the fields of vLLM's."""
        common = {"object": "model", "created": created, "owned_by": "vllm"}
        data = [
            {"id": card.id, **common, "root": card.root, "parent": card.parent}
            | {"max_model_len": card.max_model_len, "permission": []}
            for card in self.models
        ]
        return {"object": "list", "data": data}


def read(file: Path) -> Routes:
    """Read and validate the file.

    Raises:
        RoutesError: it isn't there, or a field is wrong.
    """
    try:
        return Routes.model_validate_json(file.read_bytes())
    except OSError as error:
        raise RoutesError(f"{file} can't be read: {error.strerror}") from error
    except ValidationError as error:
        told = [
            f"{'.'.join(map(str, each['loc'])) or 'file'} = {each['input']!r}: {each['msg']}"
            for each in error.errors(include_url=False)
        ]
        raise RoutesError(f"{file}: {'; '.join(told)}") from error
