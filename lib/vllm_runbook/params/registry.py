"""The fields of ``params/registry/*.yaml``: models that are served together, behind one endpoint (notebook 13)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from .errors import ParamsError, Problem, did_you_mean
from .load import find, names, origins, read, validate
from .model import Model
from .names import Name, Quantity
from .platform import Platform
from .schema import Positive, Strict, Toleration

#: As clients write it in ``model``; what vLLM splits at ``=`` and Kubernetes puts on a command line is left out.
ServedName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][\w./:-]*$", max_length=128, description="a name without spaces and without '='")
]


class Adapter(Strict):
    """A LoRA adapter of a model: the name that clients ask for, and the hub's repository.

    ``rank`` is the adapter's ``r`` (adapter_config.json), rounded up to what ``--max-lora-rank`` takes.
    """

    name: ServedName
    repo: str = Field(pattern=r"^[\w.-]+/[\w.-]+$", description="organisation/name on the hub")
    revision: str = Field(default="main", min_length=1)
    rank: Literal[1, 8, 16, 32, 64, 128, 256, 320, 512] = 16


class Nodes(Strict):
    """What a model needs of its nodes beyond a labelled GPU: further labels, and tolerations of their taints."""

    labels: dict[str, str] = Field(default_factory=dict)
    tolerations: list[Toleration] = Field(default_factory=list)


class Entry(Strict):
    """One model of a registry: a file of params/models, under which names and with how many replicas.

    ``min_replicas`` 0 makes it cold: no GPU while nobody asks, and the first request waits at the router for a whole
    start. ``cooldown_seconds`` without a request until it goes back to zero; null: the platform's
    ``autoscaling.scale_down_seconds``. ``hold_seconds``: how long the router keeps a request for a model that isn't
    ready; null: what the sizing says a start may take for a cold one, a few seconds for the others.
    """

    model: str = Field(min_length=1, description="a file of params/models")
    served_names: list[ServedName] = Field(default_factory=list)
    min_replicas: int = Field(default=1, ge=0, le=100)
    max_replicas: int = Field(default=1, ge=1, le=100)
    adapters: list[Adapter] = Field(default_factory=list)
    nodes: Nodes = Nodes()
    cooldown_seconds: int | None = Field(default=None, ge=0, le=86400)
    hold_seconds: int | None = Field(default=None, ge=1, le=3600)

    @model_validator(mode="after")
    def _range_is_one(self) -> Self:
        if self.max_replicas < self.min_replicas:
            raise ValueError("max_replicas is below min_replicas")
        return self

    @property
    def cold(self) -> bool:
        """Whether it has no replica while nobody asks."""
        return self.min_replicas == 0


class Registry(Strict):
    """Models that one endpoint serves.

    ``queue_per_model``: requests that a router holds for a model at most. ``volume_size`` of the claim for all weights;
    null: the platform's ``storage.size``, or what the models need.
    """

    name: Name
    queue_per_model: Positive = 64
    volume_size: Quantity | None = None
    models: list[Entry] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_entry_per_model(self) -> Self:
        counts = Counter(entry.model for entry in self.models)
        if twice := [name for name, count in counts.items() if count > 1]:
            raise ValueError(
                f"every model once: {', '.join(twice)} is there more than once; give it several served_names"
            )
        return self


@dataclass(frozen=True)
class Served:
    """An entry with its model, as it will be served.

    Attributes:
        slug: its name as a part of Kubernetes names, where a dot isn't allowed.
        names: under which clients know it; the first is the one in vLLM's metrics (label ``model_name``).
    """

    entry: Entry
    model: Model

    @property
    def slug(self) -> str:
        return self.model.name.replace(".", "-")

    @property
    def names(self) -> list[str]:
        return list(self.entry.served_names) or [self.model.served_name]


@dataclass(frozen=True)
class Catalogue:
    """A registry that was read, with its models' files."""

    registry: Registry
    file: Path
    models: tuple[Served, ...]


def load_registry(platform: Platform) -> Catalogue:
    """The registry that a platform names, and every model in it.

    Raises:
        ParamsError: with every problem, by file, line and field; or the platform names none.
    """
    if platform.registry is None:
        allowed = f"a file of params/registry ({', '.join(names('registry'))}), or a path"
        raise ParamsError([Problem("parameters", "platform.registry", None, allowed)])
    file = find("registry", platform.registry)
    document, lines = read(file)
    problems: list[Problem] = []
    sources = origins("registry", file, lines)
    registry = validate("registry", Registry, document, {}, sources, problems)
    if registry is None:
        raise ParamsError(problems)
    if unknown := unknown_models(registry, sources):
        raise ParamsError(unknown)
    served = tuple(Served(entry, _model(entry, problems)) for entry in registry.models)
    problems.extend(_ambiguous(served, sources))
    if problems:
        raise ParamsError(problems)
    return Catalogue(registry, file, served)


def unknown_models(registry: Registry, sources: Mapping[str, str]) -> list[Problem]:
    """Entries whose model there is no file of."""
    known = names("model")
    found = []
    for index, entry in enumerate(registry.models):
        if entry.model not in known:
            field = f"registry.models[{index}].model"
            hint = did_you_mean(entry.model, known)
            found.append(Problem(_source(field, sources), field, entry.model, f"one of {', '.join(known)}", hint))
    return found


def _model(entry: Entry, problems: list[Problem]) -> Any:
    """The model's file, validated; what is wrong there goes to ``problems``."""
    file = find("model", entry.model)
    document, lines = read(file)
    return validate("model", Model, document, {}, origins("model", file, lines), problems)


def _ambiguous(served: tuple[Served, ...], sources: Mapping[str, str]) -> Iterator[Problem]:
    """Names that two models or adapters have: the router couldn't tell them apart."""
    seen: dict[str, str] = {}
    for index, each in enumerate(served):
        entry = f"registry.models[{index}]"
        places = [(name, f"{entry}.served_names[{at}]") for at, name in enumerate(each.entry.served_names)]
        places = places or [(name, f"{entry}.model") for name in (each.names if each.model else ())]
        places += [(adapter.name, f"{entry}.adapters[{at}].name") for at, adapter in enumerate(each.entry.adapters)]
        for name, field in places:
            if name in seen:
                words = f"a name that no other model or adapter has; {seen[name]} has it already"
                yield Problem(_source(field, sources), field, name, words)
            seen.setdefault(name, field)


def _source(field: str, sources: Mapping[str, str]) -> str:
    while field not in sources and "." in field:
        field = field.rpartition(".")[0]
    return sources.get(field, "parameters")
