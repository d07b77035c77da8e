"""Waiting for what a canary consists of: gateway, route, versions; and taking the new one away again."""

from __future__ import annotations

from .. import cluster as k8s
from ..cluster import Object, Ref, Selection, State
from ..notebook import Notebook
from . import canary, workloads

_START_SECONDS = 120
_ROUTE_SECONDS = 60


def program(book: Notebook) -> None:
    """Watch until the gateway runs; nothing to wait for unless this runbook installs it.

    Raises:
        TimedOut: with what its pod says.
    """
    gateway = canary.settings(book.params).gateway
    if gateway.install != "manifest":
        return
    target = Ref("Deployment", "gateway", gateway.namespace)
    workloads.wait_running(book, target, seconds=_START_SECONDS)


def address(book: Notebook) -> str:
    """Watch until the Gateway has an address; notes the check. Returns where clients ask.

    Raises:
        TimedOut: with the Gateway's conditions.
    """
    chosen = canary.settings(book.params)
    gateway = chosen.gateway
    if chosen.engine == "istio":  # its Gateway is Istio's own kind, which has no status and no address
        return f"http://{gateway.hostname}:{gateway.port}"
    target = Ref("Gateway", gateway.name, gateway.namespace)
    state = k8s.wait(
        book.cluster,
        f"{target} is programmed and has an address",
        [Selection.of(target)],
        lambda state: k8s.is_true(state.only("Gateway"), "Programmed") and bool(_addresses(state)),
        seconds=_START_SECONDS,
        explain=lambda state: _conditions(k8s.get_in(state.only("Gateway") or {}, "status.conditions", ())),
        next_step="Does a controller know its GatewayClass? kubectl get gatewayclass",
    )
    book.check("the Gateway is programmed and has an address", True)
    return f"http://{gateway.hostname or _addresses(state)[0]}:{gateway.port}"


def _addresses(state: State) -> list[str]:
    return [each["value"] for each in k8s.get_in(state.only("Gateway") or {}, "status.addresses", ())]


def route(book: Notebook) -> None:
    """Watch until the gateway goes by the route as it is now.

    Raises:
        TimedOut: with what the gateway says of it.
    """
    chosen = canary.settings(book.params)
    if chosen.engine == "istio":  # a VirtualService doesn't tell; proxies have it within a second or so
        return
    target = Ref("HTTPRoute", canary.ROUTE, book.namespace)

    def current(state: State) -> list[Object]:
        item = state.only("HTTPRoute") or {}
        parents = k8s.get_in(item, "status.parents", ())
        found = [each for parent in parents for each in parent.get("conditions", ())]
        generation = k8s.get_in(item, "metadata.generation", 0)
        return [each for each in found if each.get("observedGeneration", 0) >= generation]

    def reached(state: State) -> bool:
        true = {each["type"] for each in current(state) if each["status"] == "True"}
        return {"Accepted", "ResolvedRefs"} <= true

    k8s.wait(
        book.cluster,
        f"the gateway goes by {target}",
        [Selection.of(target)],
        reached,
        seconds=_ROUTE_SECONDS,
        explain=lambda state: _conditions(current(state)) or "no gateway has said anything about it",
    )


def _conditions(found: list[Object]) -> str:
    return "\n".join(f"{each['type']} {each['status']}: {each['reason']} {each.get('message', '')}" for each in found)


def version(book: Notebook, name: str = canary.NAME) -> None:
    """Watch until every replica of a Deployment is of its newest version and ready.

    Raises:
        Hopeless: a pod of it can't start.
        TimedOut: with the pods' troubles.
    """
    target, start = Ref("Deployment", name, book.namespace), book.sizing.startup
    seconds = 600 + start.period_seconds * start.failure_threshold
    workloads.wait_serving(book, target, f"app.kubernetes.io/name={name}", seconds=seconds)


def restarts(book: Notebook) -> int:
    """How often containers of the canary were started again."""
    pods = book.cluster.list("Pod", book.namespace, labels=canary.PODS)
    return sum(each["restartCount"] for pod in pods for each in k8s.get_in(pod, "status.containerStatuses", ()))


def missing(book: Notebook) -> int:
    """How many replicas of the canary are not ready."""
    item = book.cluster.get(Ref("Deployment", canary.NAME, book.namespace))
    wanted, ready = k8s.get_in(item, "spec.replicas", 1), k8s.get_in(item, "status.readyReplicas", 0)
    return int(max(0, wanted - ready))


def remove(book: Notebook) -> None:
    """Take the canary away; its pods end as any server does: they finish their answers first.

    Only after no route names its Service: a backend that isn't there costs its share of the requests.
    """
    items = canary.objects(book.params, book.sizing)
    if canary.settings(book.params).engine == "istio":
        items += canary.route(book.params, book.sizing, 0)[2:]  # the canary's own DestinationRule
    for ref in canary.refs(items):
        live = book.cluster.find(ref)
        if live is not None and k8s.is_ours(live):
            book.cluster.delete(ref, uid=live["metadata"]["uid"])
