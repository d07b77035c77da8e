"""Drills about what takes pods away, or keeps them: a preemption, a dead node, a budget; and an old API version."""

from __future__ import annotations

import json

from .. import cluster as k8s
from ..cluster import Ref
from ..manifests import manifest
from ..notebook import Notebook
from ..steps import disruption
from . import goals
from .drill import Act, Change, Create, Drill
from .goals import PENDING, SERVED
from .pieces import BATCH, batch_pods, server, server_node


def _preempted(book: Notebook) -> list[Act]:
    """Free nodes are filled first: where the server is, it has to go, and there is no other place for it."""
    urgent = manifest("drills/priorityclass.yaml", book.namespace)
    return [Create(urgent), *batch_pods(book, urgent["metadata"]["name"])]


def _stopped(book: Notebook) -> list[Act]:
    key = book.params.platform.rehearsal.stop_kubelet_annotation
    return [Change(Ref("Node", server_node(book)), {f"metadata.annotations[{key}]": "stopped"})]


def _no_stop(book: Notebook) -> str:
    there = book.params.platform.rehearsal.stop_kubelet_annotation
    return "" if there else "a way to stop a kubelet (rehearsal.stop_kubelet_annotation)"


def _strict_budget(book: Notebook) -> list[Act]:
    """As many servers must stay as there are."""
    ref = Ref("PodDisruptionBudget", disruption.PDB, book.namespace)
    fields = {"spec.minAvailable": k8s.get_in(book.cluster.get(server(book)), "spec.replicas", 1)}
    fields["spec.maxUnavailable"] = None
    if book.cluster.find(ref):
        return [Change(ref, fields)]
    return [Create(manifest("disruption/pdb.yaml", book.namespace, fields))]


def _old_budget(book: Notebook) -> list[Act]:
    """A budget that was applied when the API had another version: kubectl keeps what it applied."""
    item = manifest("drills/pdb.yaml", book.namespace)
    applied = json.dumps({**item, "apiVersion": "policy/v1beta1"})
    return [Create(k8s.changed(item, {f"metadata.annotations[{goals.LAST_APPLIED}]": applied}))]


DRILLS = (
    Drill(
        name="pod-preempted",
        title="The server was thrown out",
        symptom="A server vanished in the middle of its work. Nobody deleted it, its node is fine. It stays away.",
        hints=(
            "kubectl -n {ns} get events --sort-by=.lastTimestamp: what happened to the pod that is gone?",
            "kubectl -n {ns} get pods -o custom-columns=NAME:.metadata.name,PRIORITY:.spec.priority",
            "Pods of PriorityClass urgent-batch took its GPUs: their priority is higher, so the scheduler evicted it.",
        ),
        solution=(f"kubectl -n {{ns}} delete pods -l {BATCH}",),
        notebook="07_disruption",
        acts=_preempted,
        shows=PENDING,
        mended=SERVED,
    ),
    Drill(
        name="pdb-blocks-drain",
        title="A drain that never ends",
        symptom="Nodes are to be replaced. kubectl drain says `Cannot evict pod`, every five seconds, for an hour.",
        hints=(
            "kubectl -n {ns} get pdb: how many disruptions does it allow now?",
            "The budget counts replicas. How many are there, and how many must stay?",
            "minAvailable equals the replicas that there are, so none may ever go.",
        ),
        solution=(
            f"kubectl -n {{ns}} patch pdb {disruption.PDB} --type=merge"
            """ -p '{{"spec": {{"minAvailable": null, "maxUnavailable": 1}}}}'""",
        ),
        notebook="07_disruption",
        acts=_strict_budget,
        shows=goals.BLOCKED,
        mended=SERVED & goals.DRAINABLE,
    ),
    Drill(
        name="node-not-ready",
        title="A node that says nothing",
        symptom="Requests fail at once: no server answers. Its pod says Running, as if nothing were the matter.",
        hints=(
            "kubectl -n {ns} get pods -o wide says Running. But what does the READY column say, and which node is it?",
            "kubectl describe node of that one: conditions, and when the kubelet last reported.",
            "The node's kubelet is stopped (annotation {stop_kubelet} says so). Start it again: remove the annotation.",
        ),
        solution=("kubectl annotate nodes {gpu_nodes} {stop_kubelet}-",),
        notebook="07_disruption",
        acts=_stopped,
        shows=goals.opposite(goals.nodes(goals.ready), "every node is still Ready"),
        mended=goals.nodes(goals.ready) & SERVED,
        lacks=_no_stop,
    ),
    Drill(
        name="deprecated-api",
        title="An API version that is gone",
        symptom="The router's chart is years old. Its next update fails: `no matches for kind`. Nothing is broken yet.",
        hints=(
            "What is in the cluster is converted by the API server. What was applied is not.",
            "kubectl keeps it: kubectl -n {ns} apply view-last-applied pdb/router",
            "The budget was applied as policy/v1beta1, which is gone since 1.25. Apply it as policy/v1.",
        ),
        solution=(
            "kubectl -n {ns} apply view-last-applied pdb/router -o json | sed s#policy/v1beta1#policy/v1#"
            " | kubectl -n {ns} apply -f -",
        ),
        notebook="05_observability",
        acts=_old_budget,
        shows=goals.opposite(goals.CURRENT_VERSIONS, "nothing was applied in an old version"),
        mended=goals.CURRENT_VERSIONS,
    ),
)
