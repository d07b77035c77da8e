"""KEDA: installed or found, until the API server answers with its metrics."""

from __future__ import annotations

from .. import cluster as k8s
from ..charts import Chart, render
from ..cluster import Object, Plan, Ref, Selection, State
from ..cluster import explain as explaining
from ..errors import RunbookError
from ..manifests import manifests, mirrored
from ..notebook import Notebook
from ..params import Platform
from . import gpu_nodes

OPERATOR, METRICS_SERVER = "keda-operator", "keda-metrics-apiserver"
CRD = Ref("CustomResourceDefinition", "scaledobjects.keda.sh")
#: Through this the HPA asks KEDA for its metrics.
API_SERVICE = Ref("APIService", "v1beta1.external.metrics.k8s.io")
_START_SECONDS = 900


def plan(book: Notebook) -> Plan:
    """KEDA's objects; none where one is installed already.

    Raises:
        RunbookError: the parameters say that KEDA is there, and it isn't; or somebody else serves external metrics.
    """
    settings = book.params.platform.autoscaling
    if settings.install == "existing":
        if book.cluster.find(CRD) is None:
            raise RunbookError(
                "KEDA isn't installed",
                why=f"{CRD} isn't there, and autoscaling.install is existing",
                next_step="Let this notebook install it: -p autoscaling.install=helm (or manifest, without helm).",
            )
        return book.plan([])
    _require_alone(book)
    return book.plan(objects(book.params.platform))


def objects(platform: Platform) -> list[Object]:
    """KEDA's objects; none where it is to be there already.

    Raises:
        RunbookError: they are to come from the chart, and there is no helm or it can't render it.
    """
    settings = platform.autoscaling
    if settings.install == "existing":
        return []
    if settings.install == "helm":
        chart = Chart(settings.repo, "keda", settings.version, "keda", settings.namespace)
        space: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": settings.namespace}}
        rendered = render(chart, {}, instead="autoscaling.install=manifest")
        return [space, *(mirrored(item, platform) for item in rendered)]
    return [_placed(platform, item) for item in manifests("keda/release.yaml")]


def _require_alone(book: Notebook) -> None:
    """There can be only one server of external metrics in a cluster.

    Raises:
        RunbookError: it is somebody else's.
    """
    live = book.cluster.find(API_SERVICE)
    if live is not None and not k8s.is_ours(live):
        service = k8s.get_in(live, "spec.service", {})
        raise RunbookError(
            "Something serves external metrics already",
            why=f"{API_SERVICE} belongs to Service {service.get('namespace')}/{service.get('name')}",
            next_step="If that is KEDA, use it: -p autoscaling.install=existing. If not, only one of them can stay.",
        )


def _placed(platform: Platform, item: Object) -> Object:
    """An object of the release for another namespace, or through the platform's registry mirror."""
    namespace = platform.autoscaling.namespace
    if k8s.get_in(item, "metadata.namespace") == "keda":
        item = k8s.changed(item, {"metadata.namespace": namespace})
    if item["kind"] == "Namespace":
        item = k8s.changed(item, {"metadata.name": namespace})
    for subject in item.get("subjects") or ():
        if subject.get("namespace") == "keda":
            subject["namespace"] = namespace
    if item["kind"] == "APIService":
        item = k8s.changed(item, {"spec.service.namespace": namespace})
    if item["kind"] == "Deployment":
        item = gpu_nodes.keep_off(mirrored(item, platform), platform)
    return item


def install(book: Notebook, planned: Plan) -> None:
    """Apply the plan and watch until the API server answers with KEDA's metrics; notes the checks.

    The metrics server comes when the operator is ready: one that has to try again and again to reach the operator
    waits longer each time, up to two minutes, and the HPA with it.

    Raises:
        TimedOut: with the pods' events and last log lines, or the API server's words.
    """
    last = [change for change in planned.changes if change.ref.name in (METRICS_SERVER, API_SERVICE.name)]
    last = [change for change in last if change.ref.kind in ("Deployment", "APIService")]
    first = [change for change in planned.changes if change not in last]
    if any(change.changes for change in last):
        book.apply(Plan(tuple(first), planned.force))
        _wait(book, f"KEDA's {OPERATOR} runs", [OPERATOR], api=False)
        book.apply(Plan(tuple(last), planned.force))
    else:
        book.apply(planned)
    _wait(book, "KEDA runs, and the API server reaches it", [OPERATOR, METRICS_SERVER], api=True)
    book.check("KEDA's operator and metrics server run", True)
    book.check("the API server reaches KEDA's metrics", True)


def _wait(book: Notebook, what: str, deployments: list[str], *, api: bool) -> None:
    namespace = book.params.platform.autoscaling.namespace

    def reached(state: State) -> bool:
        available = {item["metadata"]["name"] for item in state.all("Deployment") if k8s.is_true(item, "Available")}
        served = k8s.is_true(state.only("APIService"), "Available")
        return available >= set(deployments) and (served or not api)

    def explain(state: State) -> str:
        found = explaining.why(book.cluster, state.all("Pod"), Ref("Deployment", deployments[0], namespace))
        said = k8s.condition(state.only("APIService"), "Available").get("message", "")
        return f"{found}\n{API_SERVICE}: {said}" if said else found

    k8s.wait(
        book.cluster,
        what,
        [Selection("Deployment", namespace), Selection("Pod", namespace), Selection.of(API_SERVICE)],
        reached,
        seconds=_START_SECONDS,
        explain=explain,
        next_step="An API server that can't reach the pod (firewall, network policy) shows as FailedDiscoveryCheck.",
    )
