"""A crowd to measure with: thousands of pods that KWOK plays, on nodes that don't exist.

The objects are as real to the API server as any others; only the kubelet behind them is missing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from .. import cluster as k8s
from ..cluster import Object, Plan, Ref, Selection
from ..cluster import explain as explaining
from ..cluster.ownership import OURS, marked
from ..manifests import manifest, manifests, mirrored
from ..notebook import Notebook
from ..params.platform import Gpu
from . import workloads

NAMESPACE, CONTROLLER = "crowd", "kwok-controller"
#: The label that one pod in a hundred has, for lists that ask for it.
SELECTOR = "app=vllm"
#: A kubelet's own limit is 110.
_PODS_PER_NODE = 100
_SELECTED_EVERY = 100
#: What KWOK makes a node's GPUs of: GPU feature discovery's label.
GPU_COUNT = "nvidia.com/gpu.count"
#: Of a crowd of servers every other pod holds a GPU, and one in a hundred crashes.
_GPUS_PER_NODE, _HOLDS_EVERY, _CRASHES_EVERY = 8, 2, 100
CRASHING = ("crowd", "crashing")
_NODES = f"{OURS},type=kwok"
#: Requests under way at once; more don't make a small API server faster.
_WORKERS = 8
_PROGRESS_SECONDS = 5

T = TypeVar("T")


def plan(book: Notebook) -> Plan:
    """KWOK in its namespace; nothing where the platform doesn't allow a crowd (``rehearsal.crowd``)."""
    return book.plan(_objects(book) if book.params.platform.rehearsal.crowd else [])


def _objects(book: Notebook) -> list[Object]:
    return [mirrored(item, book.params.platform) for item in manifests("crowd/kwok.yaml")]


def wait_ready(book: Notebook, *, seconds: float = 180) -> None:
    """Watch until KWOK runs.

    Raises:
        TimedOut: with what its pod says.
    """
    if not book.params.platform.rehearsal.crowd:
        return
    workloads.wait_running(book, Ref("Deployment", CONTROLLER, NAMESPACE), seconds=seconds)


def _why_idle(book: Notebook) -> str:
    pods = book.cluster.list("Pod", NAMESPACE, labels=f"app.kubernetes.io/name={CONTROLLER}")
    return explaining.why(book.cluster, pods, Ref("Deployment", CONTROLLER, NAMESPACE))


def populate(book: Notebook, pods: int = 1000, *, pods_per_node: int = _PODS_PER_NODE, servers: bool = False) -> int:
    """Make the crowd just this large, and watch until all of it runs. Again, it changes nothing.

    Args:
        pods_per_node: the same for a crowd from its first pod on: pods don't move.
        servers: nodes are labelled and have eight GPUs each, every other pod holds one, and one in a hundred of the
            pods crashes again and again: what there is to look at for those who look for GPUs and for trouble.

    Returns the number of pods, 0 where the platform doesn't allow a crowd.

    Raises:
        TimedOut: KWOK doesn't play them; says why.
    """
    if not book.params.platform.rehearsal.crowd:
        print("no crowd: rehearsal.crowd is false for this platform")
        return 0
    nodes = _Difference(_names(book, "Node", _NODES), map(_node_name, range(math.ceil(pods / pods_per_node))))
    each = _Difference(_names(book, "Pod", OURS), map(_pod_name, range(pods)))
    node = marked(manifest("crowd/node.yaml", ""), book.step)
    pod = marked(manifest("crowd/pod.yaml", NAMESPACE), book.step)
    gpu = book.params.platform.gpu if servers else None
    _each("nodes made", nodes.missing, lambda name: book.cluster.apply(_node(node, name, gpu)))
    _each("pods made", each.missing, lambda name: book.cluster.apply(_pod(pod, name, pods_per_node, gpu)))
    _each("pods removed", each.surplus, lambda name: book.cluster.delete(Ref("Pod", name, NAMESPACE), grace_seconds=0))
    _each("nodes removed", nodes.surplus, lambda name: book.cluster.delete(Ref("Node", name)))
    changed = nodes.changed + each.changed
    _wait_running(book, pods)
    print(f"{pods:,} pods of KWOK run" + ("" if changed else ": nothing to change"))
    return pods


class _Difference:
    """Names that are there against names that are wanted."""

    def __init__(self, there: set[str], wanted: Iterable[str]) -> None:
        goal = set(wanted)
        self.missing, self.surplus = sorted(goal - there), sorted(there - goal)
        self.changed = len(self.missing) + len(self.surplus)


@k8s.collector_waits()
def _names(book: Notebook, kind: str, labels: str) -> set[str]:
    namespace = NAMESPACE if kind == "Pod" else ""
    found = book.cluster.list(kind, namespace, labels=labels, metadata_only=True)
    return {item["metadata"]["name"] for item in found}


def _node_name(number: int) -> str:
    return f"crowd-{number:03}"


def _pod_name(number: int) -> str:
    return f"crowd-{number:05}"


def _node(template: Object, name: str, gpu: Gpu | None = None) -> Object:
    fields = {"metadata.name": name, "metadata.labels[kubernetes.io/hostname]": name}
    if gpu is not None:
        fields[f"metadata.labels[{GPU_COUNT}]"] = str(_GPUS_PER_NODE)
        fields[f"metadata.labels[{gpu.node_label.key}]"] = gpu.node_label.value
    return k8s.changed(template, fields)


def _pod(template: Object, name: str, pods_per_node: int = _PODS_PER_NODE, gpu: Gpu | None = None) -> Object:
    number = int(name.rpartition("-")[2])
    fields: Object = {"metadata.name": name, "spec.nodeName": _node_name(number // pods_per_node)}
    if number % _SELECTED_EVERY == 0:
        key, _, value = SELECTOR.partition("=")
        fields[f"metadata.labels.{key}"] = value
    if gpu is not None and number % _HOLDS_EVERY == 0:
        fields[f"spec.containers[0].resources.limits[{gpu.resource}]"] = "1"
    if gpu is not None and number % _CRASHES_EVERY == 1:
        fields[f"metadata.labels.{CRASHING[0]}"] = CRASHING[1]
    return k8s.changed(template, fields)


def _each(what: str, items: Sequence[T], do: Callable[[T], object]) -> None:
    """Do something for each item, several at a time; a line every few seconds and at the end."""
    if not items:
        return
    pool = ThreadPoolExecutor(_WORKERS)
    began = told = time.monotonic()
    try:
        for count, _ in enumerate(pool.map(do, items), 1):
            if time.monotonic() - told > _PROGRESS_SECONDS:
                told = time.monotonic()
                print(f"{what}: {count:,} of {len(items):,}", flush=True)
    finally:  # an error or Ctrl-C leaves the rest undone
        pool.shutdown(cancel_futures=True)
    print(f"{what}: {len(items):,} ({len(items) / (time.monotonic() - began):.0f} per second)", flush=True)


def _wait_running(book: Notebook, pods: int) -> None:
    """Watch those that don't run yet, until there are none."""
    others = Selection("Pod", NAMESPACE, labels=OURS, fields="status.phase!=Running", metadata_only=True)
    k8s.wait(
        book.cluster,
        f"{pods:,} pods of the crowd run",
        [others],
        lambda state: not state.by_kind.get("Pod"),
        seconds=60 + pods / 20,
        explain=lambda state: f"{len(state.by_kind.get('Pod', ())):,} don't run\n{_why_idle(book)}",
    )


def count(book: Notebook) -> tuple[int, int]:
    """Pods and nodes of the crowd that are there."""
    return len(_names(book, "Pod", OURS)), len(_names(book, "Node", _NODES))


def clear(book: Notebook) -> None:
    """Remove the pods and nodes, watched until they are gone; KWOK stays for the next time."""
    pods, nodes = count(book)
    if not (pods or nodes):
        return
    if pods:
        # Node by node: a collection is deleted object by object within one request, and requests have a time limit.
        _each(
            "nodes emptied",
            sorted(_names(book, "Node", _NODES)),
            lambda name: _delete_pods(book, f"spec.nodeName={name}"),
        )
        _delete_pods(book)
    if nodes:
        book.cluster.delete_all("Node", labels=_NODES)
    left = Selection("Pod", NAMESPACE, labels=OURS, metadata_only=True), Selection("Node", labels=_NODES)
    k8s.wait(book.cluster, "The crowd is gone", left, lambda state: not any(state.by_kind.values()), seconds=120)
    if pods or nodes:
        print(f"deleted {pods:,} pods and {nodes} nodes of the crowd")


def remove(book: Notebook) -> None:
    """Remove the crowd and KWOK, each watched until it is gone."""
    ours = _controller(book)
    # KWOK first: it would delete every pod a second time.
    gone = k8s.delete(book.cluster, [target for target in ours if target[0].kind == "Deployment"])
    clear(book)
    gone += k8s.delete(book.cluster, ours)
    book.result.changed += len(gone)


def _delete_pods(book: Notebook, fields: str = "") -> None:
    book.cluster.delete_all("Pod", NAMESPACE, labels=OURS, fields=fields, grace_seconds=0)


def _controller(book: Notebook) -> list[tuple[Ref, str]]:
    """KWOK's objects, as far as we made them."""
    found = [book.cluster.find(k8s.ref_of(item)) for item in k8s.in_order(_objects(book))]
    return [(k8s.ref_of(item), item["metadata"]["uid"]) for item in found if item is not None and k8s.is_ours(item)]
