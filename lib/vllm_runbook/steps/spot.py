"""Spot nodes: a floor of replicas on demand, a burst of more on spot, and how a pod there must end."""

from __future__ import annotations

import math

from .. import cluster as k8s
from ..cluster import Object, Plan, Ref, Selection
from ..errors import RunbookError
from ..notebook import Notebook
from ..params import Params
from ..params.spot import Spot
from ..sizing import Sizing
from ..tables import Table
from . import autoscaling, deploy, gpu_nodes
from .load import Target

#: Deployment, ScaledObject and the label of the pods.
NAME = "vllm-inference-spot"
#: Where a server on a node that shuts down leaves word of it, for its readiness probe.
LEAVING = "/tmp/leaving"
_POD = "spec.template.spec"
_IDLE_SECONDS = 900
_ZERO_SECONDS = 120


def settings(params: Params) -> Spot:
    """The platform's spot nodes.

    Raises:
        RunbookError: it has none.
    """
    spot = params.platform.spot
    if spot is None:
        raise RunbookError(
            f"{params.platform.title} has no spot nodes",
            why="spot is null in the platform's file",
            next_step="Describe them there (labels, taints, notice), or leave this notebook out.",
        )
    return spot


def selector(book: Notebook) -> str:
    """Label selector of the platform's spot nodes."""
    return ",".join(f"{key}={value}" for key, value in settings(book.params).labels.items())


def require(book: Notebook) -> None:
    """Check what must hold before: the platform has spot nodes, notebook 06 was here.

    Raises:
        RunbookError: naming what doesn't hold.
    """
    settings(book.params)
    autoscaling.require_autoscaler(book)


def rules(book: Notebook) -> Table:
    """What this platform's spot nodes look like, and what they do at the end; from the platform's file."""
    spot = settings(book.params)
    how = {
        "drain": "cordon and drain: evictions, which ask the budget, until the notice is over",
        "node_shutdown": "the kubelet's graceful node shutdown, which asks no budget",
    }
    taints = (
        ", ".join(f"{t.key}={t.value or ''}:{t.effect}" for t in spot.taints) or "none; nvidia.com/gpu as everywhere"
    )
    rows = [
        ("label", selector(book)),
        ("taints to tolerate", taints),
        ("notice", f"{spot.notice_seconds} s, of which an ordinary pod gets {spot.pod_seconds} s"),
        ("what happens to pods", how[spot.behaviour]),
        ("floor on demand, burst on spot", f"{spot.floor} and up to {spot.burst} replicas"),
    ]
    return Table(("spot nodes", book.params.platform.title), rows)


def prestop_seconds(spot: Spot, sizing: Sizing) -> int:
    """The sleep before SIGTERM on a spot node: at most half of what a pod gets, or the drain has nothing left.

    It is for the endpoint's leaving to get about: a second for the probe, the rest for proxies.
    """
    return min(sizing.shutdown.prestop_seconds, math.ceil(spot.pod_seconds / 2))


def ending(book: Notebook) -> Table:
    """A pod's end on demand and on spot, in seconds, and the longest answer that survives each."""
    spot, end = settings(book.params), book.sizing.shutdown
    sleep = prestop_seconds(spot, book.sizing)
    left = min(end.shutdown_timeout_seconds, spot.pod_seconds - sleep)
    slowest = book.params.model.slowest_tokens_per_second
    rows = [
        ("preStop sleep", end.prestop_seconds, sleep),
        ("left for answers", end.shutdown_timeout_seconds, left),
        ("tokens in that time, at the slowest", int(end.shutdown_timeout_seconds * slowest), int(left * slowest)),
    ]
    words = (
        f"answers of {int(left * slowest)} tokens end in time on a spot node; longer ones need a client that retries"
    )
    book.check("a pod on a spot node has time left after its preStop sleep", left > 0, words)
    print(words + ".")
    return Table(("seconds", "on demand", "on spot"), rows)


def deployment(params: Params, sizing: Sizing) -> Object:
    """The burst: our Deployment again, on spot nodes only, spread over zones and nodes, with a shorter preStop.

    The grace period stays: where the notice is long enough long answers end, and where it is shorter the kubelet
    shortens it by itself.
    """
    spot = settings(params)
    expressions = gpu_nodes.required(params.platform.gpu)
    expressions += [{"key": key, "operator": "In", "values": [value]} for key, value in spot.labels.items()]
    affinity = f"{_POD}.affinity.nodeAffinity"
    required = f"{affinity}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]"
    own = {"app.kubernetes.io/name": NAME}
    return k8s.changed(
        deploy.deployment(params, sizing),
        {
            "metadata.name": NAME,
            "metadata.labels": dict(own),
            "spec.selector.matchLabels": dict(own),
            "spec.template.metadata.labels[app.kubernetes.io/name]": NAME,
            f"{affinity}.preferredDuringSchedulingIgnoredDuringExecution": None,
            f"{required}.matchExpressions": expressions,
            f"{_POD}.tolerations": gpu_nodes.tolerations(params.platform, spot=True),
            f"{_POD}.topologySpreadConstraints": [
                _spread(key) for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
            ],
            **_end(spot, prestop_seconds(spot, sizing)),
        },
    )


def _end(spot: Spot, sleep: int) -> dict[str, object]:
    """How a pod leaves. Where the node shuts down it has to say so itself.

    A pod that is deleted or evicted leaves its Service at once. One that is ended by its node's shutdown isn't deleted:
    it stays an endpoint until it has ended (kubernetes issue 116965), and new requests go on to arrive. So its preStop
    hook leaves a mark that fails the readiness probe, and the liveness probe watches /health alone.
    """
    server = f"{_POD}.containers[0]"
    if spot.behaviour == "drain":
        return {f"{server}.lifecycle.preStop.sleep.seconds": sleep}
    return {
        f"{server}.lifecycle": {
            "postStart": _shell(f"rm -f {LEAVING}"),  # of an earlier run of the container
            "preStop": _shell(f"touch {LEAVING}; sleep {sleep}"),
        },
        f"{server}.readinessProbe": {
            **_shell(f"test ! -e {LEAVING}"),
            "periodSeconds": 1,
            "timeoutSeconds": 2,
            "failureThreshold": 1,
        },
        f"{server}.livenessProbe.periodSeconds": 5,
        f"{server}.livenessProbe.failureThreshold": 3,
    }


def _shell(script: str) -> Object:
    return {"exec": {"command": ["sh", "-c", script]}}


def _spread(key: str) -> Object:
    """Evenly where it can be had: one reclaim must not take everything."""
    selector = {"matchLabels": {"app.kubernetes.io/component": "inference"}}
    return {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": selector}


def scaled_object(params: Params) -> Object:
    """The burst's autoscaler: from zero, on what is more than the floor can carry."""
    spot, chosen = settings(params), autoscaling.policy(params)
    trigger = "spec.triggers[0].metadata"
    return k8s.changed(
        autoscaling.scaled_object(params),
        {
            "metadata.name": NAME,
            "spec.scaleTargetRef.name": NAME,
            "spec.minReplicaCount": 0,
            "spec.maxReplicaCount": spot.burst,
            f"{trigger}.query": f"clamp_min(({chosen.query}) - {spot.floor * chosen.threshold}, 0)",
        },
    )


def plan(book: Notebook) -> Plan:
    """Deployment and ScaledObject of the burst."""
    return book.plan(objects(book.params, book.sizing))


def objects(params: Params, sizing: Sizing) -> list[Object]:
    """The burst and its autoscaler."""
    return [deployment(params, sizing), scaled_object(params)]


def start(book: Notebook, planned: Plan) -> None:
    """Apply the plan. A new Deployment begins at zero replicas: the API's default of one would bring a node.

    We don't set spec.replicas, for the autoscaler owns it. So the Deployment is made paused, and goes on when KEDA has
    taken it down to zero.

    Raises:
        TimedOut: KEDA doesn't.
    """
    target = Ref("Deployment", NAME, book.namespace)
    if not book.cluster.dry_run and book.cluster.find(target) is None:
        burst, scaler = objects(book.params, book.sizing)
        book.put(k8s.changed(burst, {"spec.paused": True}))
        book.put(scaler)
        k8s.wait(
            book.cluster,
            f"{target} is at zero replicas",
            [Selection.of(target)],
            lambda state: k8s.get_in(state.only("Deployment") or {}, "spec.replicas", 1) == 0,
            seconds=_ZERO_SECONDS,
            next_step="Does KEDA run? Notebook 06 says.",
        )
    book.apply(planned)


def hold_floor(book: Notebook) -> None:
    """The floor stays what it is: its own autoscaler rests, and the burst's takes the peaks. Watched; notes the check.

    Raises:
        TimedOut: with the pods' troubles.
    """
    autoscaling.pause(book, settings(book.params).floor)
    where = placement(book).rows
    stray = [pod for pod, deployment, _, capacity, _ in where if deployment != NAME and capacity == "spot"]
    book.check("the floor is on demand", not stray, f"on spot nodes: {', '.join(stray)}; is there room on demand?")


def placement(book: Notebook) -> Table:
    """Where the servers run: node, capacity type, zone."""
    spot = settings(book.params)
    nodes = {node["metadata"]["name"]: node["metadata"].get("labels", {}) for node in book.cluster.list("Node")}
    rows = []
    for pod in book.cluster.list("Pod", book.namespace, labels=deploy.SERVERS):
        node = k8s.get_in(pod, "spec.nodeName", "")
        labels = nodes.get(node, {})
        capacity = "spot" if spot.labels.items() <= labels.items() else "on demand"
        name = k8s.get_in(pod, "metadata.labels[app.kubernetes.io/name]")
        zone = labels.get("topology.kubernetes.io/zone", "")
        rows.append((pod["metadata"]["name"], name, node or "(pending)", capacity if node else "", zone))
    return Table(("pod", "Deployment", "node", "capacity", "zone"), rows)


def wait_idle(book: Notebook) -> None:
    """Watch until the provisioner has taken the idle spot nodes away; notes the check.

    Raises:
        TimedOut: with the nodes that stay.
    """
    k8s.wait(
        book.cluster,
        "the idle spot nodes are gone",
        [Selection("Node", labels=selector(book))],
        lambda state: not state.by_kind.get("Node"),
        seconds=_IDLE_SECONDS,
        explain=lambda state: "still there: " + ", ".join(node["metadata"]["name"] for node in state.all("Node")),
        next_step="Nodes with pods that can't be moved stay: `kubectl get pods -A -o wide`.",
    )
    book.check("with the last pod the spot nodes went", True)


def target(book: Notebook) -> Target:
    """Ours, seen as a whole: all servers behind the Service; judged by the Deployment that is interrupted."""
    return Target(book.namespace, deploy.SERVICE, NAME, deploy.SERVERS)


def on_spot(book: Notebook) -> dict[str, object]:
    """Fields that send the usual guide's Deployment to spot nodes, too; its own tolerations don't get it there.

    It has our priority, so that neither design preempts the other one's pods.
    """
    spot = settings(book.params)
    return {
        f"{_POD}.nodeSelector": dict(spot.labels),
        f"{_POD}.tolerations": gpu_nodes.tolerations(book.params.platform, spot=True),
        f"{_POD}.priorityClassName": deploy.PRIORITY,
    }
