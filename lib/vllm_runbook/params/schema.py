"""The strict base of all parameter models, and the small types they share.

The fields of a platform are in :mod:`.platform`, those of a model in :mod:`.model`.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(gt=0)]


class Strict(BaseModel):
    """A model that accepts no unknown field and converts no type: a typo is an error, not a default."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Toleration(Strict):
    """A pod's toleration, as in the Kubernetes API (empty value for ``Exists``)."""

    key: str
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = "NoSchedule"

    @model_validator(mode="after")
    def _value_only_with_equal(self) -> Self:
        if (self.operator == "Equal") != (self.value is not None):
            raise ValueError("operator Equal needs a value, Exists takes none")
        return self

    def manifest(self) -> dict[str, str]:
        """The toleration as a Kubernetes object, without empty fields."""
        return {name: value for name, value in self.model_dump().items() if value is not None}


class KeyValue(Strict):
    """A label: ``key=value``."""

    key: str = Field(min_length=1)
    value: str

    @property
    def selector(self) -> str:
        """The label as a selector for list and watch calls."""
        return f"{self.key}={self.value}"


class SecretRef(Strict):
    """One key of a Secret in the workload's namespace."""

    name: str = Field(min_length=1)
    key: str = Field(min_length=1)
