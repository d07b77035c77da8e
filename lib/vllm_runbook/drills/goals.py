"""States that drills wait for: a server that serves, a pod in trouble, a finished Job."""

from __future__ import annotations

from collections.abc import Callable

from .. import cluster as k8s
from ..cluster import Object, Ref, Selection, State
from ..cluster import explain as explaining
from ..notebook import Notebook
from ..steps import autoscaling, deploy, gpu_nodes, workloads
from .drill import Goal


def _server(book: Notebook) -> list[Selection]:
    slices = Selection("EndpointSlice", book.namespace, labels=f"kubernetes.io/service-name={deploy.SERVICE}")
    return [*deploy.selections(book), slices]


def _not_served(book: Notebook, state: State) -> list[str]:
    item = state.only("Deployment")
    ref = Ref("Deployment", deploy.DEPLOYMENT, book.namespace)
    if item is None:
        return [f"{ref} isn't there"]
    found = []
    if not workloads.rolled_out(item):
        status, wanted = item.get("status", {}), item["spec"].get("replicas", 1)
        counts = [f"{status.get(name, 0)} {word}" for name, word in _COUNTS]
        found.append(f"{ref} isn't rolled out: of {wanted} wanted replicas, {', '.join(counts)}")
    endpoints = [each for part in state.all("EndpointSlice") for each in part.get("endpoints") or ()]
    if not any(each.get("conditions", {}).get("ready") for each in endpoints):
        found.append(f"Service {book.namespace}/{deploy.SERVICE} has no ready pod")
    return found


_COUNTS = (("updatedReplicas", "of the newest version"), ("availableReplicas", "available"), ("replicas", "in all"))


def _one(wanted: Callable[[Object], bool], words: str) -> Callable[[Notebook, State], list[str]]:
    return lambda book, state: [] if any(map(wanted, workloads.new_pods(state))) else [words]


def _pending(pod: Object) -> bool:
    return k8s.condition(pod, "PodScheduled").get("status") == "False"


def _stuck(pod: Object) -> bool:
    """In a state that lasts: the first end of a container is over before anybody has looked."""
    statuses = k8s.get_in(pod, "status.containerStatuses", ())
    return any(k8s.get_in(status, "state.waiting.reason") in explaining.STUCK for status in statuses)


#: The server is rolled out and its Service has a ready pod.
SERVED = Goal(_server, _not_served)
#: A pod of the newest version finds no node.
PENDING = Goal(_server, _one(_pending, "no new server pod is Pending"))
#: A container of the newest version can't be pulled, started or kept alive.
FAILING = Goal(_server, _one(_stuck, "no new server has failed"))


def told(reason: str, words: str, unless: str = "no event says so yet") -> Goal:
    """An event about a server pod of the newest version, by reason and a part of its message."""

    def missing(book: Notebook, state: State) -> list[str]:
        uids = {pod["metadata"]["uid"] for pod in workloads.new_pods(state)}
        for event in state.all("Event"):
            if k8s.get_in(event, "involvedObject.uid") in uids and words in event.get("message", ""):
                return []
        return [unless]

    return Goal(lambda book: [*_server(book), Selection("Event", book.namespace, fields=f"reason={reason}")], missing)


def complete(job: str) -> Goal:
    """A Job has ended well."""

    def missing(book: Notebook, state: State) -> list[str]:
        ref = Ref("Job", job, book.namespace)
        item = state.by_kind.get("Job", {}).get(f"{book.namespace}/{job}")
        if item is None:
            return [f"{ref} isn't there"]
        if k8s.is_true(item, "Complete"):
            return []
        return [f"{ref} isn't complete: {'it fails' if _failed(state) else 'it has not ended'}"]

    return Goal(lambda book: _job(book, job), missing)


def failing(job: str) -> Goal:
    """A Job has failed, or a container of it."""

    def missing(book: Notebook, state: State) -> list[str]:
        return [] if _failed(state) else [f"no pod of Job {book.namespace}/{job} has failed yet"]

    return Goal(lambda book: _job(book, job), missing)


def _failed(state: State) -> bool:
    statuses = [each for pod in state.all("Pod") for each in k8s.get_in(pod, "status.containerStatuses", ())]
    ends = [k8s.get_in(each, f"{when}.terminated.exitCode", 0) for each in statuses for when in ("state", "lastState")]
    return k8s.is_true(state.only("Job"), "Failed") or any(ends)


def _job(book: Notebook, job: str) -> list[Selection]:
    pods = Selection("Pod", book.namespace, labels=f"batch.kubernetes.io/job-name={job}")
    return [Selection.of(Ref("Job", job, book.namespace)), pods]


def running(labels: str, count: int) -> Goal:
    """So many pods with these labels run."""

    def missing(book: Notebook, state: State) -> list[str]:
        wanted = dict(part.split("=") for part in labels.split(","))
        pods = [pod for pod in state.all("Pod") if wanted.items() <= (pod["metadata"].get("labels") or {}).items()]
        there = sum(k8s.get_in(pod, "status.phase") == "Running" for pod in pods)
        return [] if there >= count else [f"{there} of {count} pods with {labels} run"]

    return Goal(lambda book: [Selection("Pod", book.namespace, labels=labels)], missing)


def none_with(labels: str, words: str) -> Goal:
    """No pod with these labels is left; ``words`` say what their presence means."""

    def missing(book: Notebook, state: State) -> list[str]:
        key, _, value = labels.partition("=")
        held = [pod for pod in state.all("Pod") if (pod["metadata"].get("labels") or {}).get(key) == value]
        held = [pod for pod in held if not pod["metadata"].get("deletionTimestamp")]
        return [words] if held else []

    return Goal(lambda book: [Selection("Pod", book.namespace, labels=labels)], missing)


def nodes(judge: Callable[[Notebook, list[Object]], list[str]]) -> Goal:
    """Something holds of the cluster's nodes."""
    return Goal(lambda book: [Selection("Node")], lambda book, state: judge(book, state.all("Node")))


_NO_PLACE = "not every node with a GPU can take a server"


def advertised(book: Notebook, found: list[Object]) -> list[str]:
    """Every node with a GPU has some to give."""
    resource = book.params.platform.gpu.resource
    silent = [node for node in found if gpu_nodes.has_gpu(node, resource) and not gpu_nodes.gpus(node, resource)]
    return [_NO_PLACE] if silent else []


def labelled(book: Notebook, found: list[Object]) -> list[str]:
    """Every node with allocatable GPUs carries the label that servers ask for."""
    gpu = book.params.platform.gpu
    key, value = gpu.node_label.key, gpu.node_label.value
    able = [node for node in found if gpu_nodes.gpus(node, gpu.resource)]
    return [] if all(gpu_nodes.labelled(node, key, value) for node in able) else [_NO_PLACE]


def untainted(key: str) -> Callable[[Notebook, list[Object]], list[str]]:
    """At least one GPU node doesn't have the taint."""

    def judge(book: Notebook, found: list[Object]) -> list[str]:
        gpu = [node for node in found if gpu_nodes.gpus(node, book.params.platform.gpu.resource)]
        shut = [node for node in gpu if any(each["key"] == key for each in node["spec"].get("taints") or ())]
        return [_NO_PLACE] if len(shut) == len(gpu) else []

    return judge


def ready(book: Notebook, found: list[Object]) -> list[str]:
    """Every node is Ready."""
    away = [node["metadata"]["name"] for node in found if not k8s.is_true(node, "Ready")]
    return [f"Node {name} isn't Ready" for name in away]


def _hpa(book: Notebook) -> list[Selection]:
    return [Selection.of(Ref("HorizontalPodAutoscaler", f"keda-hpa-{autoscaling.NAME}", book.namespace))]


def _unread(book: Notebook, state: State) -> list[str]:
    active = k8s.condition(state.only("HorizontalPodAutoscaler"), "ScalingActive")
    if active.get("status") == "True":
        return []
    return ["the autoscaler doesn't know the load"]


#: The HPA reads its metric.
METRIC_READ = Goal(_hpa, _unread)


def _scaled(book: Notebook) -> list[Selection]:
    return [Selection.of(Ref("ScaledObject", autoscaling.NAME, book.namespace))]


def _not_accepted(book: Notebook, state: State) -> list[str]:
    item = state.only("ScaledObject")
    if k8s.is_true(item, "Ready"):
        return []
    return [f"KEDA doesn't accept ScaledObject {book.namespace}/{autoscaling.NAME}"]


#: KEDA accepts the ScaledObject.
ACCEPTED = Goal(_scaled, _not_accepted)


def _budgets(book: Notebook) -> list[Selection]:
    return [Selection("PodDisruptionBudget", book.namespace)]


def _allowed(item: Object) -> int | None:
    """How many pods a budget lets go; None where it guards none, or isn't computed yet."""
    status = item.get("status", {})
    if status.get("observedGeneration", 0) < item["metadata"]["generation"] or not status.get("expectedPods", 0):
        return None
    return int(status.get("disruptionsAllowed", 0))


def _no_drain(book: Notebook, state: State) -> list[str]:
    shut = [item["metadata"]["name"] for item in state.all("PodDisruptionBudget") if not _allowed(item)]
    return [f"an eviction of a pod that PodDisruptionBudget {name} guards is refused" for name in shut]


def _not_blocked(book: Notebook, state: State) -> list[str]:
    for item in state.all("PodDisruptionBudget"):
        status = item.get("status", {})
        # not only for as long as a pod is on its way out
        if _allowed(item) == 0 and status.get("desiredHealthy", 0) >= status["expectedPods"]:
            return []
    return ["evictions are let through"]


#: Every budget lets a pod go: a drain ends.
DRAINABLE = Goal(_budgets, _no_drain)
#: A budget lets none go, and never will.
BLOCKED = Goal(_budgets, _not_blocked)


#: Where kubectl keeps what it applied.
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def _old(book: Notebook, state: State) -> list[str]:
    budgets = state.all("PodDisruptionBudget")
    old = [each["metadata"]["name"] for each in budgets if '"policy/v1beta1"' in str(k8s.get_in(each, _APPLIED, ""))]
    return [f"PodDisruptionBudget {name} was applied in an API version that is gone" for name in old]


_APPLIED = f"metadata.annotations[{LAST_APPLIED}]"
#: No budget was applied in a version that the API server doesn't have any more.
CURRENT_VERSIONS = Goal(_budgets, _old)


def opposite(goal: Goal, words: str) -> Goal:
    """A state that is not reached any more: what a drill breaks."""
    return Goal(goal.watch, lambda book, state: [] if goal.missing(book, state) else [words])
