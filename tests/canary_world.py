"""A rollout without a cluster: two versions that count as servers do, a Prometheus that scrapes them, and a clock."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from vllm_runbook import params, sizing
from vllm_runbook.cluster import ApiError, Object, Ref, TimedOut, get_in, ref_of
from vllm_runbook.errors import RunbookError
from vllm_runbook.prometheus import Series
from vllm_runbook.steps import canary, canary_wait, canary_walk, deploy, observability

RATE = 100
"""Requests per scrape."""
STABLE, NEW, ROUTE = ("Deployment", deploy.DEPLOYMENT), ("Deployment", canary.NAME), ("HTTPRoute", canary.ROUTE)
RIGHT = "simulated answer, no model runs here; keeps the keys and values of each new token"
Count = tuple[str, tuple[tuple[str, str], ...]]


@dataclass
class World:
    """What there is, and what is wrong with the new version.

    Attributes:
        objects: in the cluster, by kind and name.
        done: what was done, in order: the route's weights as numbers (None: at rest), names of Deployments.
        answers: what a version says to golden prompts, by Service; refuses: fields that a request must not have;
            busy: so many prompts are refused before one is answered.
        errors, rejects, ends: share of its requests that the new version answers so.
        hangs: it gives no tokens; traffic: whether anybody asks anything.
        on_scrape: is called before every scrape, to break something at a moment.
    """

    overrides: dict[str, Any] = field(default_factory=dict)
    objects: dict[tuple[str, str], Object] = field(default_factory=dict)
    done: list[Any] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=lambda: {deploy.SERVICE: RIGHT, canary.SERVICE: RIGHT})
    refuses: str = ""
    busy: int = 0
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    checks: dict[str, bool] = field(default_factory=dict)
    errors: float = 0
    rejects: float = 0
    hangs: bool = False
    restarts: int = 0
    not_ready: int = 0
    traffic: bool = True
    now: float = 1000
    on_scrape: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        quick = {"canary.gates.min_requests": "20", "canary.step_seconds": "1", "canary.rehearse": "false"}
        self.params = params.load("sandbox", "tiny", {**quick, **self.overrides})
        self.sizing = sizing.size(self.params)
        self.namespace, self.cluster = self.params.platform.namespace, self
        self.dry_run = False
        self.result = SimpleNamespace(changed=0)
        self.counts: dict[Count, float] = {}
        self.scraped: tuple[float, dict[Count, float]] = (0, {})
        self.put(deploy.deployment(self.params, self.sizing))

    # -- the cluster, and what a notebook does with it -----------------------------------------------

    def find(self, ref: Ref) -> Object | None:
        return copy.deepcopy(self.objects.get((ref.kind, ref.name)))

    def get(self, ref: Ref) -> Object:
        found = self.find(ref)
        assert found, ref
        return found

    def list(self, _kind: str, _namespace: str, *, labels: str) -> Iterator[Object]:
        assert labels == canary.PODS
        yield {"status": {"containerStatuses": [{"restartCount": self.restarts}]}}

    def delete(self, ref: Ref, *, uid: str) -> None:
        assert uid == "uid"
        del self.objects[ref.kind, ref.name]
        self.done.append(f"- {ref.name}")

    def put(self, item: Object) -> None:
        ref = ref_of(item)
        self.objects[ref.kind, ref.name] = new = copy.deepcopy(item)
        new["metadata"] |= {"uid": "uid", "labels": {"app.kubernetes.io/managed-by": "vllm-runbook"}}
        if ref.kind == "HTTPRoute":
            weight = self.weight
            if self.done[-1:] != [weight]:
                self.done.append(weight)
        elif ref.kind == "Deployment":
            self.done.append(ref.name)

    def plan(self, items: list[Object]) -> list[Object]:
        return [item for item in items if (self.find(ref_of(item)) or {}).get("spec") != item["spec"]]

    def apply(self, planned: list[Object]) -> None:
        for item in planned:
            self.put(item)

    def check(self, statement: str, ok: bool, _detail: str = "") -> None:
        self.checks[statement] = ok

    @property
    def weight(self) -> int | None:
        """The new version's share."""
        (everybody,) = (rule for rule in self.objects[ROUTE]["spec"]["rules"] if rule.get("name") != "asked-for")
        weights = {each["name"]: each.get("weight") for each in everybody["backendRefs"]}
        found: int | None = weights.get(canary.SERVICE)
        return found

    def image(self) -> str:
        return str(get_in(self.objects[STABLE], "spec.template.spec.containers[0].image"))

    # -- the servers ---------------------------------------------------------------------------------

    def count(self, name: str, pod: str, more: float, **labels: str) -> None:
        key = (name, tuple(sorted({"pod": f"{pod}-1", **labels}.items())))
        self.counts[key] = self.counts.get(key, 0) + more

    def requests(self, pod: str, number: float, *, errors: float = 0, rejects: float = 0) -> None:
        handler = "/v1/chat/completions"
        self.count("http_requests_total", pod, number * (1 - errors), handler=handler, status="2xx")
        self.count("http_requests_total", pod, number * errors, handler=handler, status="5xx")
        self.count("vllm:admission_rejections_total", pod, number * rejects, reason="max_num_queued_reqs")
        self.count("vllm:time_to_first_token_seconds_bucket", pod, number, le="0.1")
        self.count("vllm:time_to_first_token_seconds_bucket", pod, number, le="+Inf")
        self.count("vllm:generation_tokens_total", pod, number * 10)

    def serve(self) -> None:
        """One interval's requests."""
        share = (self.weight or 0) / 100
        self.requests(deploy.DEPLOYMENT, RATE * self.traffic * (1 - share))
        if self.hangs:
            self.count("vllm:num_requests_running", canary.NAME, RATE * self.traffic * share)
        else:
            self.count("vllm:num_requests_running", canary.NAME, 0)
            self.requests(canary.NAME, RATE * self.traffic * share, errors=self.errors, rejects=self.rejects)

    # -- Prometheus ----------------------------------------------------------------------------------

    def until(self, what: str, reached: Callable[[], bool], *, seconds: float, every: float, **_: Any) -> None:
        """As :meth:`vllm_runbook.prometheus.Prometheus.until`, with a scrape between two questions."""
        end = self.now + seconds
        while self.now < end:
            if reached():
                return
            self.now += every
            self.on_scrape()
            self.serve()
            self.scraped = self.now, dict(self.counts)
        raise TimedOut(what)

    def query(self, expression: str) -> list[Series]:
        at, counts = self.scraped
        if expression == "time()":
            return [_series({}, self.now)]
        if expression.startswith("timestamp("):
            running = [dict(labels) for name, labels in counts if name == "vllm:num_requests_running"]
            return [_series(labels, at) for labels in running]
        return [_series({"__name__": name, **dict(labels)}, value) for (name, labels), value in counts.items()]


def _series(labels: dict[str, str], value: float) -> Series:
    return Series(labels, ((datetime.now(UTC), value),))


@dataclass(frozen=True)
class Server:
    """One version, asked directly."""

    world: World
    service: str
    timeout: float = 300

    def json(self, _path: str, body: dict[str, Any]) -> dict[str, Any]:
        self.world.asked.append((self.service, body))
        self.world.now += 0.1
        if self.world.busy:
            self.world.busy -= 1
            raise ApiError("asking", 503, {"message": "The engine is currently busy"})
        if self.world.refuses in body:
            raise ApiError("asking", 400, {"message": f"{self.world.refuses} is not supported"})
        self.world.requests(canary.NAME if self.service == canary.SERVICE else deploy.DEPLOYMENT, 1)
        text = self.world.answers[self.service]
        if not text:
            raise RunbookError("the connection broke off", why="timed out")
        reason = "length" if text.startswith("<think>") and "</think>" not in text else "stop"
        return {"choices": [{"message": {"content": text}, "finish_reason": reason}]}


def enter(monkeypatch: pytest.MonkeyPatch, world: World) -> World:
    """Have the steps see this world."""

    def version(_book: World, name: str = canary.NAME) -> None:
        world.done.append(f"{name} is ready")

    def missing(_book: World) -> int:
        return world.not_ready

    monkeypatch.setattr(observability, "prometheus", lambda _book: world)
    monkeypatch.setattr(deploy, "server", lambda _book, service=deploy.SERVICE: Server(world, service))
    monkeypatch.setattr(canary_wait, "version", version)
    monkeypatch.setattr(canary_wait, "missing", missing)
    monkeypatch.setattr(canary_wait, "route", lambda _book: None)
    monkeypatch.setattr(canary_walk, "time", SimpleNamespace(monotonic=lambda: world.now))
    return world
