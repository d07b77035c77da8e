"""A spot node is taken away: ordered where a cluster can rehearse it, else done with what Kubernetes allows."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable

from .. import cluster as k8s
from ..cluster import Object, Ref, State
from ..errors import RunbookError
from ..notebook import Notebook
from . import spot
from .load import Target

UNANNOUNCED = "unannounced"
_MANAGER = "vllm-runbook-interruption"
#: Set while we rehearse, so that a colleague who looks at the node sees why.
TAINT = "runbook.vllm.dev/rehearsed-interruption"


def clouds(book: Notebook, wanted: str) -> list[str]:
    """What can be rehearsed here, of the names that were asked for (``all``, or some with spaces between).

    Raises:
        RunbookError: a name that isn't among them.
    """
    settings = spot.settings(book.params)
    here = [*settings.reclaims.clouds] if settings.reclaims else [book.params.platform.name, UNANNOUNCED]
    names = here if wanted == "all" else wanted.split()
    unknown = [name for name in names if name not in here]
    if unknown:
        raise RunbookError(f"{unknown[0]} can't be rehearsed on {book.params.platform.title}", why=f"here: {here}")
    return list(names)


def allowed(book: Notebook, allow_disruption: str) -> bool:
    """Whether a node may be taken away: always where reclaims can be ordered, else only the one that is named."""
    if spot.settings(book.params).reclaims or allow_disruption:
        return True
    print("Left out: no node may be disrupted. Name one to rehearse with: -p allow_disruption=NODE")
    return False


class Interruption:
    """The end of one or more spot nodes, by the rules of a cloud.

    Attributes:
        nodes: that go.
        output: of kubectl, where it was used.
    """

    def __init__(self, book: Notebook, cloud: str, targets: Iterable[Target], allow_disruption: str = "") -> None:
        self._book, self._cloud, self._spot = book, cloud, spot.settings(book.params)
        self.output = ""
        self._over = self._spot.reclaims is not None
        if self._spot.reclaims:
            self.nodes = sorted({_most(book, target) for target in targets})
            return
        self._program = k8s.program(book.cluster, "kubectl")
        if self._program is None:
            raise RunbookError("There is no kubectl to drain with", next_step="Put kubectl on PATH.")
        if book.cluster.find(Ref("Node", allow_disruption)) is None:
            raise RunbookError(f"There is no node {allow_disruption!r}", next_step="allow_disruption names the node.")
        self.nodes = [allow_disruption]

    def begin(self, ended: Callable[[], None]) -> None:
        """Start it and return; ``ended()`` is called when what we do ourselves is done."""
        if reclaims := self._spot.reclaims:
            for node in self.nodes:
                meta = {"name": node, "annotations": {reclaims.annotation: self._cloud}}
                item: Object = {"apiVersion": "v1", "kind": "Node", "metadata": meta}
                self._book.cluster.apply(item, manager=_MANAGER, force=True)
            return

        def run() -> None:
            try:
                self._rehearse(self.nodes[0])
            finally:
                self._over = True
                ended()

        threading.Thread(target=run, daemon=True, name="interruption").start()

    def done(self, state: State) -> bool:
        """Whether it has come to its end: the nodes are gone, or what we do ourselves is done."""
        there = state.by_kind.get("Node", {})
        return self._over and not (self._spot.reclaims and any(f"/{node}" in there for node in self.nodes))

    def _rehearse(self, node: str) -> None:
        """Taint and cordon; then evictions, or ends that no budget is asked about."""
        self._kubectl("taint", "--overwrite", "node", node, f"{TAINT}={self._cloud}:NoSchedule")
        if self._cloud != UNANNOUNCED and self._spot.behaviour == "drain":
            limit = f"--timeout={self._spot.notice_seconds}s"
            self._kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", limit)
            return
        self._kubectl("cordon", node)
        grace = 0 if self._cloud == UNANNOUNCED else self._spot.pod_seconds
        for pod in self._book.cluster.list("Pod", fields=f"spec.nodeName={node}"):
            owners = pod["metadata"].get("ownerReferences", ())
            if pod["metadata"]["namespace"] in self._namespaces() and owners and owners[0]["kind"] == "ReplicaSet":
                self._book.cluster.delete(k8s.ref_of(pod), uid=pod["metadata"]["uid"], grace_seconds=grace)

    def _namespaces(self) -> tuple[str, str]:
        """Other people's pods are only ever evicted, which asks their budgets."""
        return (self._book.namespace, self._book.params.platform.naive_namespace)

    def _kubectl(self, *arguments: str) -> None:
        assert self._program is not None
        done = self._program.run(*arguments)
        self.output += done.stdout + done.stderr

    def undo(self, *, delete_node: bool = False) -> None:
        """Give the node back, or delete its object, whose machine the provisioner then ends. Ordered ones just go."""
        if self._spot.reclaims:
            return
        (node,) = self.nodes
        if delete_node:
            self._book.cluster.delete(Ref("Node", node))
            return
        self._kubectl("uncordon", node)
        self._kubectl("taint", "node", node, f"{TAINT}-")


def _most(book: Notebook, target: Target) -> str:
    """The spot node with most of a target's pods.

    Raises:
        RunbookError: none of them is on spot.
    """
    nodes = {node["metadata"]["name"] for node in book.cluster.list("Node", labels=spot.selector(book))}
    pods = book.cluster.list("Pod", target.namespace, labels=target.pods, fields="status.phase=Running")
    found = [name for pod in pods if (name := k8s.get_in(pod, "spec.nodeName", "")) in nodes]
    if not found:
        raise RunbookError(f"{target.ref} has no pod on a spot node", why=f"spot nodes: {', '.join(sorted(nodes))}")
    ((name, _),) = Counter(sorted(found)).most_common(1)  # of equals the first
    return str(name)
