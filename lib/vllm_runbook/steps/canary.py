"""A new version beside the stable one, and the route that gives it a share of the traffic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import cluster as k8s
from ..cluster import Object, Plan, Ref
from ..errors import RunbookError
from ..manifests import manifest, manifests, mirrored
from ..notebook import Notebook
from ..params import Params, Platform
from ..params.canary import Canary
from ..sizing import Sizing
from ..tables import Table
from . import deploy, gpu_nodes
from .load import Target

#: Deployment and label of the pods; their Service; the label that keeps them out of the stable Service.
NAME, SERVICE, COMPONENT = "vllm-canary", "inference-canary", "inference-canary"
PODS = f"app.kubernetes.io/name={NAME}"
ROUTE = "inference"
CRD = Ref("CustomResourceDefinition", "httproutes.gateway.networking.k8s.io")
_CONTAINER = "spec.template.spec.containers[0]"
_HOME = "gateway-system"  # the namespace that the manifests are written for


def settings(params: Params) -> Canary:
    """How this platform rolls a new version out.

    Raises:
        RunbookError: it doesn't say.
    """
    if params.platform.canary is None:
        raise RunbookError(
            f"{params.platform.title} has no way in for a canary",
            why="canary is null in the platform's file",
            next_step="Describe the gateway there (docs/canary.md), or leave this notebook out.",
        )
    return params.platform.canary


def require(book: Notebook) -> None:
    """Check what must hold before: the stable version serves.

    Raises:
        RunbookError: naming what doesn't hold and which notebook sees to it.
    """
    settings(book.params)
    with book.earlier():
        if book.cluster.find(Ref("Deployment", deploy.DEPLOYMENT, book.namespace)) is None:
            raise RunbookError("There is no stable version", next_step="Run notebook 04 (deploy vLLM) first.")


# -- the way in --------------------------------------------------------------------------------------


def plan_gateway(book: Notebook) -> Plan:
    """The definitions and the gateway program; nothing where the cluster has them.

    Raises:
        RunbookError: the parameters say that they are there and they aren't, or they are there and aren't ours.
    """
    chosen = settings(book.params)
    live = book.cluster.find(CRD) if chosen.engine == "gateway-api" else None
    if chosen.gateway.install == "manifest" and live is not None and not k8s.is_ours(live):
        raise RunbookError(
            "The cluster has the Gateway API already",
            why=f"{CRD} is there, and this runbook didn't create it",
            next_step="Use its gateway: -p canary.gateway.install=existing, and its GatewayClass.",
        )
    kind = "HTTPRoute" if chosen.engine == "gateway-api" else "VirtualService"
    if chosen.gateway.install == "existing" and not book.cluster.serves(kind):
        with book.earlier(essential=True):
            raise RunbookError(
                f"The cluster has no {kind}",
                why=f"canary.gateway.install is existing, and the API server doesn't list {kind}",
                next_step="Install a gateway for this cluster (docs/canary.md).",
            )
    return book.plan(program(book.params.platform))


def program(platform: Platform) -> list[Object]:
    """The sandbox's gateway with the definitions that it needs; nothing where the cluster has a gateway."""
    if platform.canary is None or platform.canary.gateway.install != "manifest":
        return []
    items = [item for file in ("crds", "gateway") for item in manifests(f"canary/gateway/{file}.yaml")]
    return [_placed(platform, item) for item in items]


def _placed(platform: Platform, item: Object) -> Object:
    """An object for another namespace, or through the platform's registry mirror."""
    assert platform.canary
    namespace = platform.canary.gateway.namespace
    if k8s.get_in(item, "metadata.namespace") == _HOME:
        item = k8s.changed(item, {"metadata.namespace": namespace})
    if item["kind"] == "Namespace":
        item = k8s.changed(item, {"metadata.name": namespace})
    if item["kind"] == "ClusterRoleBinding":
        item = k8s.changed(item, {"subjects[0].namespace": namespace})
    if item["kind"] == "Deployment":
        item = gpu_nodes.keep_off(mirrored(item, platform), platform)
        args = [each.replace(f"{_HOME}/", f"{namespace}/") for each in k8s.get_in(item, f"{_CONTAINER}.args")]
        item = k8s.changed(item, {f"{_CONTAINER}.args": args})
    return item


def entrance(platform: Platform) -> list[Object]:
    """The Gateway, and in the sandbox its class; nothing where the cluster has it."""
    if platform.canary is None or not platform.canary.gateway.create:
        return []
    gateway = platform.canary.gateway
    item = manifest("canary/gateway-object.yaml", gateway.namespace)
    listener = {"name": gateway.listener, "port": gateway.port}
    listener |= {"hostname": gateway.hostname} if gateway.hostname else {}
    fields: dict[str, Any] = {f"spec.listeners[0].{name}": value for name, value in listener.items()}
    fields |= {"metadata.name": gateway.name, "spec.gatewayClassName": gateway.class_name}
    selector = "spec.listeners[0].allowedRoutes.namespaces.selector.matchLabels"
    fields[f"{selector}[kubernetes.io/metadata.name]"] = platform.namespace
    found = [k8s.changed(item, fields)]
    if gateway.install == "manifest":
        found.insert(0, k8s.changed(manifests("canary/gateway/class.yaml")[0], {"metadata.name": gateway.class_name}))
    return found


# -- the route ---------------------------------------------------------------------------------------


def plan_route(book: Notebook) -> Plan:
    """Gateway and route at rest; after the gateway's definitions are there."""
    return book.plan(way_in(book.params, book.sizing))


def route(params: Params, sizing: Sizing, weight: int | None = None) -> list[Object]:
    """The route's objects.

    Args:
        weight: percent of the traffic for the canary; None: there is no canary, all goes to the stable Service.
    """
    chosen = settings(params)
    return (_istio if chosen.engine == "istio" else _http_route)(params, sizing, weight)


def _http_route(params: Params, sizing: Sizing, weight: int | None) -> list[Object]:
    chosen, gateway = settings(params), settings(params).gateway
    item = manifest("canary/httproute.yaml", params.platform.namespace)
    (rule,) = item["spec"]["rules"]
    stable, canary = rule["backendRefs"]
    rule["timeouts"]["request"] = f"{_longest(sizing)}s"
    rules = [rule]
    if weight is None:
        rule["backendRefs"] = [stable]
    else:
        rule["backendRefs"] = [{**stable, "weight": 100 - weight}, {**canary, "weight": weight}]
        if chosen.header:
            header = {"type": "Exact", "name": chosen.header, "value": "always"}
            matches = [{**each, "headers": [header]} for each in rule["matches"]]
            rules.insert(0, {**rule, "name": "asked-for", "matches": matches, "backendRefs": [{**canary, "weight": 1}]})
    parent = {"name": gateway.name, "namespace": gateway.namespace, "sectionName": gateway.listener}
    fields: dict[str, Any] = {"spec.parentRefs": [parent], "spec.rules": rules}
    if gateway.hostname:
        fields["spec.hostnames"] = [gateway.hostname]
    return [k8s.changed(item, fields)]


def _istio(params: Params, sizing: Sizing, weight: int | None) -> list[Object]:
    chosen, gateway = settings(params), settings(params).gateway
    service, *rules = manifests("canary/istio.yaml")
    (http,) = service["spec"]["http"]
    stable, canary = http["route"]
    http["timeout"] = f"{_longest(sizing)}s"
    ways = [http]
    if weight is None:
        http["route"], rules = [stable], rules[:1]
    else:
        http["route"] = [{**stable, "weight": 100 - weight}, {**canary, "weight": weight}]
        if chosen.header:
            match = [{**each, "headers": {chosen.header: {"exact": "always"}}} for each in http["match"]]
            ways.insert(0, {**http, "name": "asked-for", "match": match, "route": [{**canary, "weight": 100}]})
    fields = {
        "spec.hosts": [gateway.hostname],
        "spec.gateways": [f"{gateway.namespace}/{gateway.name}"],
        "spec.http": ways,
    }
    found = [k8s.changed(service, fields), *rules]
    return [k8s.changed(item, {"metadata.namespace": params.platform.namespace}) for item in found]


def _longest(sizing: Sizing) -> int:
    """Seconds that one answer may take at worst, with as much again for its wait in the queue."""
    return 2 * sizing.shutdown.shutdown_timeout_seconds


# -- the versions ------------------------------------------------------------------------------------


def deployment(params: Params, sizing: Sizing, replicas: int = 1) -> Object:
    """The canary: the stable Deployment under another name, with what is new. No autoscaler has it."""
    own = {"app.kubernetes.io/name": NAME}
    fields = {
        "metadata.name": NAME,
        "metadata.labels": dict(own),
        "spec.replicas": replicas,
        "spec.selector.matchLabels": dict(own),
        "spec.template.metadata.labels": {**own, "app.kubernetes.io/component": COMPONENT},
        **_new(params, sizing),
    }
    return k8s.changed(deploy.deployment(params, sizing), fields)


def promoted(stable: Object, params: Params, sizing: Sizing) -> Object:
    """A stable Deployment with what is new."""
    return k8s.changed(stable, _new(params, sizing))


def _new(params: Params, sizing: Sizing) -> dict[str, Any]:
    """The fields in which the new version differs."""
    chosen, platform = settings(params), params.platform
    first, *args = deploy.arguments(params, sizing)
    flags = {_flag(each) for each in chosen.args}
    kept = [each for each in args if _flag(each) not in flags]
    fields: dict[str, Any] = {f"{_CONTAINER}.args": [chosen.model_path or first, *kept, *chosen.args]}
    if chosen.image:
        fields[f"{_CONTAINER}.image"] = platform.image(chosen.image)
    return fields


def _flag(argument: str) -> str:
    return argument.partition("=")[0]


def objects(params: Params, sizing: Sizing, replicas: int = 1) -> list[Object]:
    """The canary and its Service."""
    return [manifest("canary/service.yaml", params.platform.namespace), deployment(params, sizing, replicas)]


def plan_canary(book: Notebook) -> Plan:
    """The canary and its Service; nothing where there is no new version, or the stable one has it already."""
    return book.plan(objects(book.params, book.sizing) if is_new(book) else [])


def start(book: Notebook, planned: Plan) -> bool:
    """Make the canary; uncounted, for it is taken away again. Whether there is one to try."""
    if book.cluster.dry_run:
        book.apply(planned)
    for change in planned.changes if not book.cluster.dry_run else ():
        book.put(change.desired)
        print(f"{change.action} {change.ref}")
    return bool(planned.changes)


def is_new(book: Notebook) -> bool:
    """Whether there is something to roll out; says in a line why not."""
    if not settings(book.params).is_new:
        print("no new version: name one (-p canary.image=…, canary.args, canary.model_path)")
        return False
    if is_stable(book):
        print("the stable version is this one already: nothing to roll out")
        return False
    return True


def is_stable(book: Notebook) -> bool:
    """Whether the stable Deployment asks for the new version already."""
    live = book.cluster.find(Ref("Deployment", deploy.DEPLOYMENT, book.namespace))
    new = promoted(deploy.deployment(book.params, book.sizing), book.params, book.sizing)
    return live is not None and not book.plan([new])


def differences(params: Params, sizing: Sizing) -> Table:
    """What is new, field by field."""
    stable = deploy.deployment(params, sizing)
    before, after = (k8s.get_in(item, _CONTAINER) for item in (stable, promoted(stable, params, sizing)))
    rows = [(name, _shown(before[name], after[name]), _shown(after[name], before[name])) for name in ("image", "args")]
    return Table(("field", "stable", "new"), [row for row in rows if row[1] != row[2]] or [("nothing", "", "")])


def _shown(value: Any, other: Any) -> str:
    return " ".join(each for each in value if each not in other) if isinstance(value, list) else str(value)


def replicas_for(weight: int, stable: int) -> int:
    """Replicas that carry a share of what so many stable ones carry."""
    return max(1, math.ceil(stable * weight / 100))


def way_in(params: Params, sizing: Sizing) -> list[Object]:
    """Gateway and route at rest; nothing where the platform has none."""
    return [] if params.platform.canary is None else [*entrance(params.platform), *route(params, sizing)]


def target(book: Notebook, address: str) -> Target:
    """Both versions behind the gateway, judged by the stable Deployment."""
    pods = f"app.kubernetes.io/component in (inference, {COMPONENT})"
    return Target(book.namespace, deploy.SERVICE, deploy.DEPLOYMENT, pods, address)


def refs(items: Sequence[Object]) -> list[Ref]:
    """Names of objects."""
    return [k8s.ref_of(item) for item in items]
