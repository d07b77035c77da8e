"""What takes pods away: the budget that guards against evictions, and the drain, the deletion and the update itself."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from .. import cluster as k8s
from ..cluster import Object, Plan, Ref, Selection, State
from ..errors import RunbookError
from ..manifests import manifest
from ..notebook import Notebook
from ..params import Platform
from ..plots import gpu_usage
from ..tables import Table
from . import deploy, gpu_nodes, workloads
from .eviction import evict
from .load import Target

PDB = "vllm-inference"
_SECONDS = 60


def plan(book: Notebook) -> Plan:
    """The PodDisruptionBudget."""
    return book.plan([budget(book.params.platform)])


def budget(platform: Platform) -> Object:
    """The PodDisruptionBudget of every server behind the Service."""
    return manifest("disruption/pdb.yaml", platform.namespace)


def wait_computed(book: Notebook) -> None:
    """Watch until the budget counts our pods; note whether a drain can get by.

    Raises:
        TimedOut: the disruption controller doesn't count them.
    """
    target = Ref("PodDisruptionBudget", PDB, book.namespace)

    def reached(state: State) -> bool:
        status = (state.only("PodDisruptionBudget") or {}).get("status", {})
        return bool(status.get("expectedPods", 0) and status.get("currentHealthy", 0) >= status["expectedPods"])

    state = k8s.wait(
        book.cluster, f"{target} counts our pods as healthy", [Selection.of(target)], reached, seconds=_SECONDS
    )
    status = (state.only("PodDisruptionBudget") or {})["status"]
    book.check("the budget lets one pod go at a time, so a drain ends", status["disruptionsAllowed"] == 1)


def evictions(book: Notebook) -> Table:
    """What the API server says to the eviction of one pod, in a dry run; notes the check.

    With minAvailable 1 instead, and one replica, the answer would be 429 for ever.
    """
    replicas = _ready(book, book.namespace, deploy.PODS)
    rows = []
    budgets = (("maxUnavailable: 1", {"maxUnavailable": 1}), ("minAvailable: 1", {"minAvailable": 1}))
    for words, spec in budgets:
        allowed = replicas - 1 if "minAvailable" in spec else min(1, replicas)
        rows.append((words, replicas, allowed, "a drain ends" if allowed > 0 else "a drain never ends"))
    answer = evict(book.cluster, _pods(book, book.namespace, deploy.PODS)[0], dry_run=True)
    book.check("an eviction (dry run) is let through", not answer, answer)
    return Table(("budget", "ready replicas", "evictions allowed now", "so"), rows)


@k8s.collector_waits()
def surge(book: Notebook) -> Table:
    """Whether the pod that an update starts first finds a GPU; notes the check."""
    platform, gpus = book.params.platform, book.params.model.gpus
    wanted = platform.rollout.max_surge
    pods = book.cluster.list("Pod", fields="status.phase!=Succeeded,status.phase!=Failed")
    usage = gpu_usage(gpu_nodes.ready_nodes(book), pods, platform.gpu.resource)
    room = sum(node.free // gpus for node in usage)
    rows = [(node.node, node.allocatable, node.used, node.free // gpus) for node in usage]
    hint = (
        f"{wanted} wanted, {room} free: the new pod would stay Pending and the update with it. "
        "Add a node, or replace in place: -p rollout.max_surge=0 -p rollout.max_unavailable=1"
    )
    book.check("an update's surge pod finds a GPU", room >= wanted, hint)
    return Table(("node", "GPUs", "in use", "replicas that still fit"), rows)


# -- what is done under load: each begins something and returns at once ---------------------------


def delete_one(book: Notebook, target: Target) -> str:
    """Delete one ready pod, as a person does; returns its name."""
    pod = _pods(book, target.namespace, target.pods)[0]
    book.cluster.delete(k8s.ref_of(pod), uid=pod["metadata"]["uid"])
    return str(pod["metadata"]["name"])


class Drain:
    """``kubectl drain`` of the node that holds most of a target's pods, and ``uncordon`` afterwards.

    Attributes:
        node: its name.
        code: exit code of the drain; None while it runs.
    """

    def __init__(self, book: Notebook, target: Target, *, timeout_seconds: int = 300) -> None:
        found = k8s.program(book.cluster, "kubectl")
        if found is None:
            raise RunbookError("There is no kubectl to drain with", next_step="Put kubectl on PATH.")
        self._kubectl = found
        self.node = _node_to_drain(book, target)
        self.code: int | None = None
        self.output = ""
        self._timeout = timeout_seconds

    def begin(self, ended: Any = None) -> None:
        """Start it; ``ended()`` is called when it has ended."""
        arguments = ["drain", self.node, "--ignore-daemonsets", "--delete-emptydir-data"]
        arguments.append(f"--timeout={self._timeout}s")

        def run() -> None:
            done = self._kubectl.run(*arguments)
            self.output, self.code = done.stdout + done.stderr, done.returncode
            if ended:
                ended()

        threading.Thread(target=run, daemon=True, name="kubectl-drain").start()

    def undo(self) -> None:
        """Let pods on the node again."""
        done = self._kubectl.run("uncordon", self.node)
        if done.returncode:
            raise RunbookError(f"Node {self.node} is still cordoned", why=done.stderr.strip())


def _node_to_drain(book: Notebook, target: Target) -> str:
    """The node with most of the target's pods.

    Raises:
        RunbookError: there is none.
    """
    nodes = [pod["spec"]["nodeName"] for pod in _pods(book, target.namespace, target.pods)]
    if not nodes:
        raise RunbookError(f"{target.ref} has no ready pod")
    ((name, _),) = Counter(sorted(nodes)).most_common(1)  # of equals the first
    return str(name)


def full(state: State, target: Target) -> bool:
    """Whether the target has every wanted replica ready, of its newest version, and none that is leaving."""
    item = state.by_kind.get("Deployment", {}).get(f"{target.namespace}/{target.deployment}")
    if not workloads.rolled_out(item):
        return False
    pods = [pod for pod in state.all("Pod") if pod["metadata"].get("labels", {}).get("pod-template-hash")]
    return not any(pod["metadata"].get("deletionTimestamp") for pod in pods)


def _pods(book: Notebook, namespace: str, labels: str) -> list[Object]:
    pods = book.cluster.list("Pod", namespace, labels=labels, fields="status.phase=Running")
    return [pod for pod in pods if k8s.is_true(pod, "Ready") and not pod["metadata"].get("deletionTimestamp")]


def _ready(book: Notebook, namespace: str, labels: str) -> int:
    return len(_pods(book, namespace, labels))
