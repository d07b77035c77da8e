"""A workload and its rollout: whether it is done, which pods are of it, and waiting for it."""

from __future__ import annotations

from .. import cluster as k8s
from ..cluster import Hopeless, Object, Ref, Selection, State
from ..cluster import explain as explaining
from ..cluster.waiting import Listener
from ..notebook import Notebook

REVISION = "metadata.annotations[deployment.kubernetes.io/revision]"
_HASH = "metadata.labels[pod-template-hash]"


def rolled_out(item: Object | None) -> bool:
    """Whether a Deployment or DaemonSet is as its newest version asks, as `kubectl rollout status` judges it."""
    if item is None or k8s.get_in(item, "status.observedGeneration", 0) < item["metadata"]["generation"]:
        return False
    status = item.get("status", {})
    if item["kind"] == "DaemonSet":
        wanted = status.get("desiredNumberScheduled", 0)
        counts = ["updatedNumberScheduled", "numberReady"]
    else:
        wanted = item["spec"].get("replicas", 1)
        counts = ["updatedReplicas", "replicas", "availableReplicas"]
    return all(status.get(count, 0) == wanted for count in counts)


def selections(target: Ref, labels: str) -> list[Selection]:
    """What a rollout of a Deployment consists of: it, its ReplicaSets and pods.

    Args:
        labels: selector of the pods.
    """
    return [Selection.of(target), *(Selection(kind, target.namespace, labels=labels) for kind in ("ReplicaSet", "Pod"))]


def new_pods(state: State) -> list[Object]:
    """Pods of the newest ReplicaSet: those before it may be failing for reasons that are being mended."""
    item = state.only("Deployment")
    if item is None or k8s.get_in(item, "status.observedGeneration", 0) < item["metadata"]["generation"]:
        return []
    newest = [each for each in state.all("ReplicaSet") if k8s.get_in(each, REVISION) == k8s.get_in(item, REVISION)]
    hashes = {k8s.get_in(each, _HASH) for each in newest}
    return [pod for pod in state.all("Pod") if k8s.get_in(pod, _HASH) in hashes]


def can_not_start(pod: Object) -> bool:
    """Whether a container has crashed, or its image or configuration can't be had."""
    for status in pod.get("status", {}).get("containerStatuses", ()):
        waiting = k8s.get_in(status, "state.waiting.reason", "")
        if waiting in explaining.STUCK and waiting != "ErrImagePull":
            return True
        if k8s.get_in(status, "state.terminated.exitCode", 0) or k8s.get_in(status, "lastState.terminated.exitCode", 0):
            return not status.get("started")
    return False


def wait_running(book: Notebook, target: Ref, *, seconds: float) -> None:
    """Watch until a program of ours is rolled out; its pods bear its name as ``app.kubernetes.io/name``.

    A crash is not the end: such programs may start before what they ask is there.

    Raises:
        TimedOut: with the pods' events and last log lines.
    """
    pods = Selection("Pod", target.namespace, labels=f"app.kubernetes.io/name={target.name}")
    k8s.wait(
        book.cluster,
        f"{target} runs",
        [Selection.of(target), pods],
        lambda state: rolled_out(state.only(target.kind)),
        seconds=seconds,
        explain=lambda state: explaining.why(book.cluster, state.all("Pod"), target),
    )


def wait_serving(
    book: Notebook, target: Ref, labels: str, *, seconds: float, on_event: Listener | None = None
) -> State:
    """Watch until every replica of a Deployment of servers is of its newest version and ready.

    Args:
        labels: selector of its pods.

    Raises:
        Hopeless: a pod of the newest version can't start: its events and last log lines say why.
        TimedOut: with the pods' troubles.
    """

    def reached(state: State) -> bool:
        for pod in new_pods(state):
            if can_not_start(pod):
                why = explaining.why(book.cluster, [pod])
                hint = "Change what is named above and run this notebook again."
                raise Hopeless(f"{target} can't start its server", why=why, next_step=hint)
        return rolled_out(state.only("Deployment"))

    return k8s.wait(
        book.cluster,
        f"{target} is available",
        selections(target, labels),
        reached,
        seconds=seconds,
        on_event=on_event,
        explain=lambda state: explaining.why(book.cluster, state.all("Pod"), target),
    )
