"""Which steps hold in a cluster, at a glance: read from what each notebook leaves, without changing or waiting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .. import cluster as k8s
from .. import doctor, drills
from ..cluster import ApiError, Ref
from ..cluster.lease import holder_of
from ..errors import RunbookError
from ..notebook import Notebook
from . import (
    autoscaling,
    canary,
    crowd,
    deploy,
    disruption,
    gpu_nodes,
    observability,
    router,
    spot,
    teardown,
    weights,
    workloads,
)

HOLDS, PARTLY, NOT_YET, UNKNOWN, NO_STATE = "holds", "partly", "not yet", "can't tell", ""


@dataclass(frozen=True)
class State:
    """How a step stands: one of the words above, and what was seen."""

    word: str
    seen: str = ""


@k8s.collector_waits()
def look(book: Notebook) -> dict[str, State]:
    """The state of every step, by the notebook's name. What may not be read is told, and not raised."""
    return {step: _told(check, book) for step, check in _CHECKS.items()}


def _told(check: Callable[[Notebook], State], book: Notebook) -> State:
    try:
        return check(book)
    except ApiError as error:
        return State(UNKNOWN if error.code in (401, 403) else NOT_YET, error.message)
    except RunbookError as error:
        return State(NOT_YET, error.what)


def _preflight(book: Notebook) -> State:
    version = book.cluster.json("GET", "/version", doing="Asking for the version")["gitVersion"]
    if not book.sizing.fits:
        return State(NOT_YET, f"Kubernetes {version} answers, but {book.params.model.name} does not fit")
    return State(HOLDS, f"Kubernetes {version} answers, and {book.params.model.name} fits")


def _device_plugin(book: Notebook) -> State:
    resource = book.params.platform.gpu.resource
    nodes = [node for node in book.cluster.list("Node") if gpu_nodes.has_gpu(node, resource)]
    counts = [gpu_nodes.gpus(node, resource) for node in nodes]
    seen = f"{sum(map(bool, counts))} of {len(nodes)} GPU nodes advertise, {sum(counts)} GPUs"
    return State(_word(all(counts) and bool(counts), any(counts)), seen)


def _labels(book: Notebook) -> State:
    ready = gpu_nodes.ready_nodes(book)
    return State(_word(bool(ready)), f"{len(ready)} nodes with the label and GPUs")


def _weights(book: Notebook) -> State:
    weights.require(book)
    return State(HOLDS, weights.revision(book) or "on every GPU node")


def _deployment(book: Notebook) -> State:
    return _replicas(book, Ref("Deployment", deploy.DEPLOYMENT, book.namespace))


def _observability(book: Notebook) -> State:
    found = observability.prometheus(book).query("count(up == 1)")
    return State(HOLDS, f"Prometheus scrapes {found[0].value:.0f} targets" if found else "Prometheus answers")


def _autoscaling(book: Notebook) -> State:
    autoscaling.require_autoscaler(book)
    item = book.cluster.get(Ref("ScaledObject", autoscaling.NAME, book.namespace))
    ready = k8s.condition(item, "Ready")
    return State(_word(k8s.is_true(item, "Ready"), True), ready.get("message", "KEDA hasn't judged it yet"))


def _disruption(book: Notebook) -> State:
    ref = Ref("PodDisruptionBudget", disruption.PDB, book.namespace)
    if (item := book.cluster.find(ref)) is None:
        return State(NOT_YET, f"there is no {ref}")
    return State(HOLDS, f"the budget lets {k8s.get_in(item, 'status.disruptionsAllowed', 0)} pods go now")


def _spot(book: Notebook) -> State:
    spot.settings(book.params)
    return _replicas(book, Ref("Deployment", spot.NAME, book.namespace))


def _diagnosis(book: Notebook) -> State:
    found = doctor.diagnose(doctor.examine(book.cluster, doctor.context_of(book.params)))
    if not found.findings:
        return State(HOLDS, "nothing is wrong in the namespace")
    return State(NO_STATE, f"{len(found.findings)} findings; first: {found.findings[0].cause}")


def _teardown(book: Notebook) -> State:
    ours = len(teardown.created(book))
    played = sum(crowd.count(book))
    return State(NO_STATE, f"{ours + played} objects here were created by the runbook")


def _canary(book: Notebook) -> State:
    canary.settings(book.params)
    (item, *_) = canary.route(book.params, book.sizing)
    ref = k8s.ref_of(item)
    if not book.cluster.serves(ref.kind, ref.version) or book.cluster.find(ref) is None:
        return State(NOT_YET, f"there is no {ref}")
    tried = book.cluster.find(Ref("Deployment", canary.NAME, book.namespace)) is not None
    return State(HOLDS, "a new version is being tried" if tried else "all traffic goes to the stable version")


def _gitops(book: Notebook) -> State:
    return State(NO_STATE, "leaves nothing in the cluster")


def _models(book: Notebook) -> State:
    if book.params.platform.registry is None:
        return State(NO_STATE, "the platform names no registry of models")
    return _replicas(book, Ref("Deployment", router.DEPLOYMENT, book.params.platform.models_namespace))


def _onboarding(book: Notebook) -> State:
    now = drills.running(book)
    return State(NO_STATE, f"the drill {now.drill} is under way" if now else "no drill is under way")


def _verification(book: Notebook) -> State:
    held = holder_of(book.cluster, book.namespace)
    return State(NO_STATE, held.why if held else "no run is at work here")


def _replicas(book: Notebook, ref: Ref) -> State:
    item = book.cluster.find(ref)
    if item is None:
        return State(NOT_YET, f"there is no {ref}")
    ready, wanted = k8s.get_in(item, "status.readyReplicas", 0), k8s.get_in(item, "spec.replicas", 1)
    return State(_word(workloads.rolled_out(item), True), f"{ready} of {wanted} replicas ready")


def _word(holds: bool, begun: bool = False) -> str:
    return HOLDS if holds else PARTLY if begun else NOT_YET


_CHECKS: dict[str, Callable[[Notebook], State]] = {
    "00_preflight": _preflight,
    "01_device_plugin": _device_plugin,
    "02_label_gpu_nodes": _labels,
    "03_storage_weights": _weights,
    "04_deploy_vllm": _deployment,
    "05_observability": _observability,
    "06_autoscaling": _autoscaling,
    "07_disruption": _disruption,
    "08_spot": _spot,
    "09_diagnosis": _diagnosis,
    "10_teardown": _teardown,
    "11_canary": _canary,
    "12_gitops": _gitops,
    "13_multi_model": _models,
    "20_onboarding": _onboarding,
    "30_verify": _verification,
}
