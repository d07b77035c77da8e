"""The autoscaler: a ScaledObject whose query is proven before it is trusted, and what it owns."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from .. import cluster as k8s
from ..cluster import Object, Plan, Ref, Selection, State
from ..cluster import explain as explaining
from ..cluster.quantity import parse
from ..errors import RunbookError
from ..manifests import manifest
from ..notebook import Notebook
from ..params import Params
from ..plots import decision_figure
from ..tables import Table
from . import deploy, keda, observability

NAME = "vllm-inference"
POLICIES = ("queue", "concurrency")
PAUSED = "autoscaling.keda.sh/paused-replicas"
_PAUSE_MANAGER = "vllm-runbook-pause"
_READY_SECONDS = 180


@dataclass(frozen=True)
class Policy:
    """What is counted, and how much of it one replica may have.

    Attributes:
        query: PromQL with exactly one series; threshold: its value per replica (AverageValue target).
    """

    name: str
    query: str
    threshold: int
    min_replicas: int
    max_replicas: int

    def wanted(self, value: float, current: int = 1) -> int:
        """Replicas that the HPA wants for a value of the query.

        ceil(value / threshold), bounded; within 10 % of the target it leaves things as they are (the controller
        manager's --horizontal-pod-autoscaler-tolerance).
        """
        if current and abs(value / (self.threshold * current) - 1) <= 0.1:
            return current
        return min(max(math.ceil(value / self.threshold), self.min_replicas), self.max_replicas)


def policy(params: Params, name: str = "") -> Policy:
    """A policy of the platform's parameters: ``queue`` or ``concurrency``, by default the one that is set."""
    settings, namespace = params.platform.autoscaling, params.platform.namespace
    name = name or settings.policy
    waiting = f'sum(vllm:num_requests_waiting{{namespace="{namespace}"}})'
    running = f'sum(vllm:num_requests_running{{namespace="{namespace}"}})'
    query, threshold = {
        "queue": (waiting, settings.queue_per_replica),
        "concurrency": (f"{running} + {waiting}", settings.concurrency_per_replica),
    }[name]
    if settings.min_replicas == 0:  # without a server there is no series, and that is no error then
        query = f"({query}) or vector(0)"
    return Policy(name, query, threshold, settings.min_replicas, settings.max_replicas)


def require(book: Notebook) -> None:
    """Check what must hold before: a server is deployed, Prometheus answers.

    Raises:
        RunbookError: naming what doesn't hold and which notebook sees to it.
    """
    observability.require(book)
    with book.earlier():
        observability.prometheus(book).query("vector(1)")


def scaled_object(params: Params, name: str = "") -> Object:
    """The ScaledObject of a policy, by default the platform's."""
    chosen, settings = policy(params, name), params.platform.autoscaling
    trigger, behavior = "spec.triggers[0].metadata", "spec.advanced.horizontalPodAutoscalerConfig.behavior"
    fields: dict[str, Any] = {
        "spec.minReplicaCount": chosen.min_replicas,
        "spec.maxReplicaCount": chosen.max_replicas,
        "spec.pollingInterval": settings.polling_seconds,
        "spec.cooldownPeriod": settings.scale_down_seconds,
        "spec.fallback.replicas": max(1, chosen.min_replicas),
        f"{behavior}.scaleUp.policies[0].value": chosen.max_replicas,
        f"{behavior}.scaleDown.stabilizationWindowSeconds": settings.scale_down_seconds,
        f"{trigger}.serverAddress": params.platform.metrics.server_address,
        f"{trigger}.query": chosen.query,
        f"{trigger}.threshold": str(chosen.threshold),
    }
    return manifest("autoscaling/scaledobject.yaml", params.platform.namespace, fields)


def plan(book: Notebook, name: str = "") -> Plan:
    """The ScaledObject; the API server checks it against KEDA's schema."""
    return book.plan([scaled_object(book.params, name)])


def wait_ready(book: Notebook, name: str = NAME) -> None:
    """Watch until KEDA accepts a ScaledObject and the HPA reads the metric; notes the check.

    A paused one has no HPA, and one at zero doesn't read anything.

    Raises:
        TimedOut: with KEDA's and the HPA's words.
    """
    target = Ref("ScaledObject", name, book.namespace)
    hpa = Ref("HorizontalPodAutoscaler", f"keda-hpa-{name}", book.namespace)

    def reached(state: State) -> bool:
        item, scaler = state.only("ScaledObject"), state.only("HorizontalPodAutoscaler")
        if k8s.is_true(item, "Paused"):
            return k8s.is_true(item, "Ready")
        active = k8s.condition(scaler, "ScalingActive")
        at_zero = active.get("reason") == "ScalingDisabled"
        return k8s.is_true(item, "Ready") and (active.get("status") == "True" or at_zero)

    def explain(state: State) -> str:
        said = [
            f"{ref} {each['type']}: {each.get('reason', '')} {each.get('message', '')}".rstrip()
            for ref in (target, hpa)
            for each in k8s.get_in(state.only(ref.kind) or {}, "status.conditions", ())
        ]
        return "\n".join([*said, *explaining.events_of(book.cluster, target, limit=4)])

    k8s.wait(
        book.cluster,
        f"{target} is ready and its HPA reads the metric",
        [Selection.of(target), Selection.of(hpa)],
        reached,
        seconds=_READY_SECONDS,
        explain=explain,
        next_step="A query that yields no series or more than one is refused; prove it in this notebook first.",
    )
    book.check("KEDA accepts the ScaledObject, and the HPA reads its metric", True)


def prove(book: Notebook) -> Table:
    """The queries of both policies against the live Prometheus: exactly one series each; notes the check."""
    asked, rows = observability.prometheus(book), []
    for name in POLICIES:
        chosen = policy(book.params, name)
        found = asked.query(chosen.query)
        value = found[0].value if len(found) == 1 else math.nan
        wanted = chosen.wanted(value, 0) if len(found) == 1 else "none: KEDA refuses it"
        rows.append((name, chosen.query, len(found), value, chosen.threshold, wanted))
    book.check("each query yields exactly one series", all(row[2] == 1 for row in rows))
    return Table(("policy", "query", "series", "now", "per replica", "replicas wanted"), rows)


def decisions(book: Notebook) -> go.Figure:
    """What each policy would do at growing loads, and where it is now."""
    asked = observability.prometheus(book)
    policies = {name: policy(book.params, name) for name in POLICIES}
    now = {name: found[0].value for name, each in policies.items() if (found := asked.query(each.query))}
    most = max(each.threshold * each.max_replicas for each in policies.values()) * 1.1
    wanted = {name: functools.partial(each.wanted, current=0) for name, each in policies.items()}
    return decision_figure(wanted, most, now)


def through_keda(book: Notebook) -> float:
    """The metric as the HPA gets it: Prometheus → KEDA → API server; notes the check.

    Raises:
        ApiError: KEDA has no such metric, or can't ask Prometheus.
    """
    item = book.cluster.get(Ref("ScaledObject", NAME, book.namespace))
    (name,) = k8s.get_in(item, "status.externalMetricNames", ["s0-prometheus"])
    path = f"/apis/external.metrics.k8s.io/v1beta1/namespaces/{book.namespace}/{name}"
    query = {"labelSelector": f"scaledobject.keda.sh/name={NAME}"}
    answer = book.cluster.json("GET", path, query=query, doing=f"Asking KEDA for {name}")
    values = [parse(each["value"]) for each in answer["items"]]
    book.check("the metric arrives where the HPA reads it, as one value", len(values) == 1)
    return float(values[0])


def owners(book: Notebook) -> Table:
    """Who owns spec.replicas; notes the check that it isn't us: two owners would fight over it."""
    item = book.cluster.get(Ref("Deployment", deploy.DEPLOYMENT, book.namespace))
    rows = []
    for entry in item["metadata"].get("managedFields", ()):
        if "f:replicas" in k8s.get_in(entry, "fieldsV1.f:spec", {}):
            rows.append((entry["manager"], entry["operation"], entry.get("subresource", "")))
    ours = any(row[0] == k8s.MANAGER for row in rows)
    book.check("we don't own spec.replicas: the autoscaler does", not ours)
    return Table(("manager of spec.replicas", "operation", "subresource"), rows or [("(nobody: the default)", "", "")])


def pause(book: Notebook, replicas: int, name: str = NAME) -> None:
    """Hold a Deployment at so many replicas (maintenance); watched until it has them.

    A ScaledObject of this runbook, its Deployment and the label of its pods have the same name.

    Raises:
        TimedOut: with the pods' troubles.
    """
    _annotate(book, {PAUSED: str(replicas)}, name)
    _wait_replicas(book, replicas, name)


def resume(book: Notebook, name: str = NAME) -> None:
    """Give a Deployment back to the autoscaler."""
    _annotate(book, {}, name)


def start_from_one(book: Notebook, name: str = "") -> None:
    """Put a policy to work with one replica: paused there, the rest gone, then let go."""
    book.put(scaled_object(book.params, name))
    pause(book, 1)
    resume(book)
    wait_ready(book)


def _annotate(book: Notebook, annotations: dict[str, str], name: str) -> None:
    """By a field manager of its own: applying the ScaledObject again must not end a pause."""
    meta: Object = {"name": name, "namespace": book.namespace, "annotations": annotations}
    item = {"apiVersion": k8s.API_VERSIONS["ScaledObject"], "kind": "ScaledObject", "metadata": meta}
    book.cluster.apply(item, manager=_PAUSE_MANAGER, force=True)


def _wait_replicas(book: Notebook, wanted: int, name: str) -> None:
    target = Ref("Deployment", name, book.namespace)
    pods = Selection("Pod", book.namespace, labels=f"app.kubernetes.io/name={name}")

    def reached(state: State) -> bool:
        item = state.only("Deployment") or {}
        status = item.get("status", {})
        # a pod that its node's shutdown ended stays as an object until the node is gone
        living = [pod for pod in state.all("Pod") if k8s.get_in(pod, "status.phase") != "Failed"]
        return bool(len(living) == status.get("readyReplicas", 0) == item.get("spec", {}).get("replicas", -1) == wanted)

    k8s.wait(
        book.cluster,
        f"{target} has {wanted} replicas, and the others are gone",
        [Selection.of(target), pods],
        reached,
        seconds=300 + book.sizing.startup.load_seconds + book.sizing.shutdown.grace_period_seconds,
        explain=lambda state: explaining.why(book.cluster, state.all("Pod"), target),
    )


def require_autoscaler(book: Notebook) -> None:
    """Check that notebook 06 was here.

    Raises:
        RunbookError: there is no ScaledObject.
    """
    there = book.cluster.find(keda.CRD) and book.cluster.find(Ref("ScaledObject", NAME, book.namespace))
    with book.earlier():
        if not there:
            raise RunbookError("There is no autoscaler yet", next_step="Run notebook 06 (autoscaling) first.")
