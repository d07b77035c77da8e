"""The usual guide's deployment, beside ours: its objects as they are, and mended just so far that they serve.

It lives in a namespace of its own (``llm-naive`` beside ``llm``) and only on platforms that allow the rehearsal
(``rehearsal.outage``). Notebook 05 walks from the one state to the other; later notebooks drive both.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from .. import cluster as k8s
from ..cluster import Object, Ref, Selection
from ..manifests import manifest
from ..notebook import Notebook
from ..params import Params
from ..plots import PodTimeline
from ..sizing.host import BASE_GIB, WORKER_GIB
from . import deploy, gpu_nodes, weights
from .load import Target

CLAIM, DEPLOYMENT, SERVICE, BUDGET = "vllm-model-pvc", deploy.DEPLOYMENT, "naive", "vllm-pdb"
PODS = "app=vllm-inference"
#: Kinds that are made in the namespace.
KINDS = ("Deployment", "Service", "PodDisruptionBudget", "Job", "DaemonSet", "PersistentVolumeClaim", "Secret")
_POD, _SERVER = "spec.template.spec", "spec.template.spec.containers[0]"


def allowed(book: Notebook) -> bool:
    """Whether the platform allows this rehearsal; says so in one line where it doesn't."""
    platform = book.params.platform
    if not platform.rehearsal.outage:
        print(f"Left out: {platform.name} does not allow the rehearsal of an outage (rehearsal.outage).")
    return platform.rehearsal.outage


def namespace(book: Notebook) -> str:
    """Where the usual guide's objects live."""
    return book.params.platform.naive_namespace


def room(book: Notebook) -> Notebook:
    """A notebook like this one in that namespace, with a result of its own: none of it is in this one's verdict.

    The usual guide knows no NetworkPolicies and no API key, so there are none there.
    """
    there = {"namespace": namespace(book), "network.policies": False, "api_key.enabled": False}
    return Notebook(book.step, book.params.replace(there), book.cluster)


def namespace_object(book: Notebook) -> Object:
    """The namespace."""
    return manifest("naive/namespace.yaml", namespace(book))


def guide(book: Notebook) -> list[Object]:
    """The usual guide's claim, disruption budget and Deployment (with its spot tolerations), as they are."""
    return [guides_claim(book), manifest("naive/pdb.yaml", namespace(book)), deployment(book, {})]


def guides_claim(book: Notebook, storage_class: str = "") -> Object:
    """The usual guide's claim, with its class or another one."""
    fields = {"spec.storageClassName": storage_class} if storage_class else {}
    return manifest("naive/pvc.yaml", namespace(book), fields)


def scaled_object(book: Notebook) -> Object:
    """The usual guide's autoscaler, as it is."""
    return manifest("naive/scaledobject.yaml", namespace(book))


def deployment(book: Notebook, fields: dict[str, Any]) -> Object:
    """The usual guide's Deployment with some fields set (None removes one)."""
    return manifest("naive/deployment.yaml", namespace(book), fields)


def schedulable(book: Notebook) -> dict[str, Any]:
    """Fields without which the scheduler has no node: the platform's GPU label, and its tolerations."""
    platform = book.params.platform
    affinity = f"{_POD}.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]"
    usual = k8s.get_in(deployment(book, {}), f"{_POD}.tolerations")
    return {
        f"{affinity}.matchExpressions": gpu_nodes.required(platform.gpu),
        f"{_POD}.tolerations": [*usual, *gpu_nodes.tolerations(platform)],
        f"{_POD}.runtimeClassName": platform.device_plugin.runtime_class,
    }


def weights_mounted(book: Notebook) -> dict[str, Any]:
    """The field by which the Deployment gets the claim that holds the weights, instead of the guide's."""
    return {f"{_POD}.volumes[0]": {**deploy.weights_volume(book.params), "name": "model-storage"}}


def mended(book: Notebook, replicas: int = 1, more: Mapping[str, Any] | None = None) -> list[Object]:
    """What a reader has who mended only what kept it from serving at all, and a Service to reach it.

    The model comes from a local path, the image has a version, the memory is the guide's own rule for this model.
    Left as they were: probes, update strategy, CPU requests below the limits, the budget that no drain can keep,
    the default grace period; no preStop, no drain, no admission limit. ``more`` are fields besides.
    """
    params, model = book.params, book.params.model
    size = {"memory": memory(params), params.platform.gpu.resource: str(model.gpus)}
    fields: dict[str, Any] = {
        **schedulable(book),
        **weights_mounted(book),
        "spec.replicas": replicas,
        f"{_POD}.initContainers": None,
        f"{_SERVER}.image": params.platform.image(params.platform.images.vllm),
        f"{_SERVER}.args": _arguments(params),
        f"{_SERVER}.volumeMounts[0].mountPath": "/models",
        f"{_SERVER}.resources": {"requests": {"cpu": "2", **size}, "limits": {"cpu": "4", **size}},
        **(more or {}),
    }
    others = (manifest(f"naive/{name}.yaml", namespace(book)) for name in ("pdb", "service"))
    return [*others, deployment(book, fields)]


def _arguments(params: Params) -> list[str]:
    model = params.model
    found = [
        f"--model=/models/{model.hub_id}",
        f"--served-model-name={model.served_name}",
        f"--port={deploy.PORT}",
        f"--tensor-parallel-size={model.tensor_parallel_size}",
        "--load-format=safetensors",
    ]
    if model.pipeline_parallel_size > 1:
        found.append(f"--pipeline-parallel-size={model.pipeline_parallel_size}")
    return found


def memory(params: Params) -> str:
    """Host memory by the guide's rule: as much as the weights in bf16 take; at least what a server takes at rest."""
    at_rest = BASE_GIB + WORKER_GIB * params.model.gpus
    return f"{max(round(2 * params.model.architecture.params_billion), math.ceil(at_rest))}Gi"


def apply(book: Notebook, items: Iterable[Object]) -> None:
    """Show what will change, and change it. Not counted as changes: a rehearsal ends as it began."""
    _show_and_apply(book, book.plan(items))


def _show_and_apply(book: Notebook, plan: k8s.Plan) -> None:
    if plan:
        print(plan)
    k8s.apply(book.cluster, plan)


def fill(book: Notebook) -> None:
    """A copy of the weights in that namespace: a claim can't be mounted from another one. Watched until verified.

    Raises:
        Hopeless, TimedOut: as :func:`.weights.wait_filled`.
    """
    space = room(book)
    _show_and_apply(book, weights.plan(space))
    weights.wait_filled(space, weights.Follower())
    _show_and_apply(book, weights.plan_copy(space))
    weights.wait_copied(space)


def serve(book: Notebook, timeline: PodTimeline, replicas: int = 1, more: Mapping[str, Any] | None = None) -> None:
    """Everything that the mended deployment needs, then itself, watched until it is ready. Again, it changes nothing.

    Does nothing where the rehearsal isn't allowed.

    Raises:
        Hopeless, TimedOut: as :func:`.deploy.wait_available` and :func:`.weights.wait_filled`.
    """
    if not allowed(book):
        return
    apply(book, [namespace_object(book)])
    fill(book)
    apply(book, mended(book, replicas, more))
    deploy.wait_available(room(book), timeline, PODS)


def target(book: Notebook) -> Target:
    """What a load generator is aimed at."""
    return Target(namespace(book), SERVICE, DEPLOYMENT, PODS)


def hold(book: Notebook, replicas: int, more: Mapping[str, Any] | None = None) -> None:
    """Serve with so many replicas (``more``: as :func:`mended`), watched until they are ready; 0 frees the GPUs.

    Raises:
        Hopeless, TimedOut: as :func:`serve`; or pods that don't go.
    """
    if replicas:
        timeline = PodTimeline("Pods of the usual guide's deployment", book.params.platform.time_scale)
        serve(book, timeline, replicas, more)
        return
    book.put(mended(book, 0)[-1])
    pods = Selection("Pod", namespace(book), labels=PODS)
    what = f"{target(book).ref} has no pods"
    k8s.wait(book.cluster, what, [pods], lambda state: not state.by_kind.get("Pod"), seconds=120)


def update_seconds(book: Notebook, replicas: int) -> float:
    """How long an update of so many replicas takes: each waits for the guide's initialDelaySeconds, one by one."""
    item = deployment(book, {})
    delay = k8s.get_in(item, f"{_SERVER}.readinessProbe.initialDelaySeconds")
    start = book.sizing.startup.load_seconds / book.params.platform.time_scale
    return float(replicas * max(delay + k8s.get_in(item, f"{_SERVER}.readinessProbe.periodSeconds"), start) + 10)


def chat(book: Notebook, question: str) -> deploy.Answer:
    """Ask the mended deployment one question through the API server; note the check."""
    answer = deploy.chat(room(book), question, service=SERVICE)
    book.check("mended, the usual guide's deployment streams an answer to its end", answer.whole)
    return answer


def remove(book: Notebook) -> list[Ref]:
    """Delete everything that we made in that namespace, and the namespace, each watched until it is gone."""
    name = namespace(book)
    found = k8s.created(book.cluster, (*KINDS, "Namespace"), [name])
    targets = [(ref, uid) for ref, uid in found if name in (ref.namespace, ref.name)]
    return k8s.delete(book.cluster, targets)
