"""How a new version is tried on a share of the traffic: the way in, the steps, and what decides about each."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .names import Image, Name
from .schema import Positive, Strict

Percent = Annotated[int, Field(ge=1, le=100)]


class Gateway(Strict):
    """The Gateway that the route attaches to.

    ``install``: ``existing`` where the cluster has a gateway; ``manifest`` installs the sandbox's own, which runs
    nowhere else. ``create`` makes the Gateway object ``name`` of ``class``; without it that Gateway must be there.
    ``pods`` are labels of the gateway's pods in ``pods_namespace`` (null: ``namespace``), which the servers'
    NetworkPolicy lets in; none: every pod of that namespace. ``hostname``: where clients know it by one. With Istio
    they must: its Gateway is of another kind, which is never made here and tells no address.
    """

    install: Literal["existing", "manifest"] = "existing"
    create: bool = False
    class_name: Name | None = Field(default=None, alias="class")
    name: Name = "inference"
    namespace: Name = "gateway-system"
    listener: Name = "http"
    port: int = Field(default=80, ge=1, le=65535)
    hostname: str | None = Field(default=None, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    pods: dict[str, str] = Field(default_factory=dict)
    pods_namespace: Name | None = None

    @model_validator(mode="after")
    def _what_is_made_is_described(self) -> Self:
        if self.create and self.class_name is None:
            raise ValueError("create needs class: the GatewayClass of the Gateway that is made")
        return self


class Gates(Strict):
    """What a version must hold at each step, compared with the stable one in the same time.

    ``min_requests`` of the canary are the smallest sample that anything is concluded from. Rates are from 0 to 1:
    ``max_error_rate`` of answers with a server's error (and of refusals beyond the stable version's own share),
    ``max_broken_rate`` of answers that broke off. The 95th percentile of the time to first token may be
    ``ttft_p95_ratio`` times the stable one's, and ``ttft_p95_slack_seconds`` more. ``stall_seconds`` is how long a
    server with requests may give no token and end none, how long a replica may be missing, and how long a golden prompt
    may take: longer than the longest prompt needs, and than some intervals of scraping.
    """

    min_requests: Positive = 50
    max_error_rate: float = Field(default=0.01, ge=0, lt=1)
    max_broken_rate: float = Field(default=0.0, ge=0, lt=1)
    ttft_p95_ratio: float = Field(default=1.5, ge=1)
    ttft_p95_slack_seconds: float = Field(default=0.2, ge=0)
    stall_seconds: Positive = 120


class Canary(Strict):
    """A new version and its way to all of the traffic.

    What is new is ``image``, ``args`` (each replaces the stable one's flag of the same name, or is added) and
    ``model_path`` (another directory of the weights' volume: a new revision, filled beforehand); all null or empty:
    there is no new version, and notebook 11 keeps the route alone. ``steps`` are percents of the traffic; each takes
    at least ``step_seconds``, and at most ``step_timeout_seconds`` to have enough requests. ``golden`` names a file of
    ``params/golden``: prompts, and what answers to them must satisfy. Requests with the header ``header`` (value
    ``always``) go to the canary whatever its share is; null: there is no such way. ``keep`` leaves a version that was
    rolled back in place, without traffic. ``rehearse``: the way is tried, and not a version: what was promoted is taken
    back to the version of the parameters in the end.
    """

    engine: Literal["gateway-api", "istio"] = "gateway-api"
    gateway: Gateway = Gateway()
    image: Image | None = None
    args: list[str] = Field(default_factory=list)
    model_path: str | None = Field(default=None, pattern=r"^/models/")
    steps: list[Percent] = Field(default_factory=lambda: [5, 25, 50, 100], min_length=1)
    step_seconds: Positive = 300
    step_timeout_seconds: Positive = 3600
    gates: Gates = Gates()
    golden: Name = "general"
    header: Name | None = None
    keep: bool = False
    rehearse: bool = False

    @property
    def is_new(self) -> bool:
        """Whether there is a version to roll out."""
        return bool(self.image or self.args or self.model_path)

    @model_validator(mode="after")
    def _steps_lead_to_all(self) -> Self:
        if self.steps != sorted(set(self.steps)) or self.steps[-1] != 100:
            raise ValueError("steps must rise and end with 100")
        if self.step_timeout_seconds < self.step_seconds:
            raise ValueError("step_timeout_seconds is below step_seconds")
        return self

    @model_validator(mode="after")
    def _istio_has_a_gateway_of_its_own(self) -> Self:
        if self.engine != "istio":
            return self
        if self.gateway.install == "manifest":
            raise ValueError("the sandbox's gateway knows no Istio objects: gateway.install existing")
        if self.gateway.create:
            raise ValueError("Istio's own Gateway is another kind, which isn't made here: gateway.create false")
        if self.gateway.hostname is None:
            raise ValueError("engine istio needs gateway.hostname: the name that Istio's Gateway answers to")
        return self
