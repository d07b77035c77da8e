"""Interruptible nodes: how they look, when they go, what they cost."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from .schema import Positive, Strict, Toleration


class Prices(Strict):
    """What a GPU costs per hour, on demand and on spot, and how often a spot node is taken back.

    Yours, from the provider's price list and your own history: they differ by region and by week.
    """

    currency: str = "USD"
    on_demand_per_gpu_hour: float = Field(gt=0)
    spot_per_gpu_hour: float = Field(gt=0)
    interruptions_per_node_month: float = Field(ge=0)

    @model_validator(mode="after")
    def _spot_is_cheaper(self) -> Self:
        if self.spot_per_gpu_hour >= self.on_demand_per_gpu_hour:
            raise ValueError("spot_per_gpu_hour isn't below on_demand_per_gpu_hour: then spot nodes make no sense")
        return self


class Reclaims(Strict):
    """How a cluster that rehearses reclaims is told of one: by an annotation on the Node, whose value is a cloud."""

    annotation: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    clouds: list[Literal["aws", "gcp", "azure", "unannounced"]] = Field(min_length=1)


class Spot(Strict):
    """How interruptible nodes look and behave.

    ``notice_seconds`` is the warning before the node goes; ``pod_seconds`` what an ordinary pod gets
    of it to finish its answers. ``taints`` are written as the tolerations that accept them. ``floor`` replicas
    stay on demand, up to ``burst`` more come and go on spot nodes. Without ``reclaims`` an interruption is
    rehearsed with what Kubernetes allows.
    """

    labels: dict[str, str] = Field(min_length=1)
    taints: list[Toleration] = Field(default_factory=list)
    notice_seconds: Positive
    pod_seconds: Positive
    behaviour: Literal["drain", "node_shutdown"]
    floor: Positive = 1
    burst: Positive = 4
    prices: Prices | None = None
    reclaims: Reclaims | None = None

    @model_validator(mode="after")
    def _pods_get_less_than_all(self) -> Self:
        if self.pod_seconds > self.notice_seconds:
            raise ValueError("pod_seconds can't exceed notice_seconds: the node is gone by then")
        return self
