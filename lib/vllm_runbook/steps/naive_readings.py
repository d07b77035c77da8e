"""Faults of the usual guide that keep no pod from starting: asked of the cluster, of kubectl, and of the sizing."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

from .. import cluster as k8s
from .. import params as parameters
from .. import sizing, tools
from ..cluster import ApiError, Object, Ref, Selection, State
from ..cluster.quantity import parse
from ..notebook import Notebook
from ..params import Params
from ..plots import gpu_usage
from ..sizing import Sizing
from . import deploy, gpu_nodes, naive
from .eviction import evict
from .naive_faults import Faults

_LARGE = "llama-3.1-70b-instruct"
_POD, _SERVER = "spec.template.spec", "spec.template.spec.containers[0]"


class Prometheus(Protocol):
    """What can be asked for metrics."""

    def query(self, expression: str, /) -> Sequence[Any]:
        """The series that an expression yields now."""
        ...


def without_namespace(book: Notebook, faults: Faults) -> None:
    """14: the guide's claim, before anybody made its namespace."""
    try:
        book.cluster.apply(naive.guides_claim(book), dry_run=True)
    except ApiError as error:
        faults.note(14, f"Applied as it is: {error.message}.", part="namespace")


def slow_readiness(book: Notebook, faults: Faults) -> None:
    """3: how long the mended server was up before it was ready."""
    pod, delay = _serving(book), _guides(book, f"{_SERVER}.readinessProbe.initialDelaySeconds")
    ready = datetime.fromisoformat(k8s.condition(pod, "Ready")["lastTransitionTime"])
    up = _up(book, pod)
    if up is None:
        return
    if (ready - up).total_seconds() > delay / 2:
        words = f"The mended server was up, and got no traffic before initialDelaySeconds {delay} were over."
    else:
        words = f"The load took nearly initialDelaySeconds {delay} or longer, so that they added nothing."
    faults.note(3, words, part="readiness")


def all_of_them(book: Notebook, faults: Faults, prometheus: Prometheus | None) -> None:
    """Every fault that can be asked for while the mended deployment serves."""
    pod, large = _serving(book), _large(book)
    _does_not_fit(faults, large)
    _short_startup(book, faults, large)
    _metric(book, faults, prometheus)
    _scaled_object(book, faults)
    _eviction(book, faults, pod)
    _surge(book, faults)
    _shutdown(faults, pod)
    _taints(book, faults)
    _server_side(book, faults)
    _old_version(book, faults)
    _loose_ends(book, faults, pod)
    _memory(book, faults, large)
    _priority(book, faults, pod)


def _does_not_fit(faults: Faults, large: Sizing) -> None:
    if large.fits:
        faults.note(
            1, f"It fits the GPUs of this platform ({large.params.platform.gpu.memory_gib:g} GiB).", shown=False
        )
    else:
        faults.note(1, f"By the sizing: {large.reasons[0].text} The server would end with {large.reasons[0].symptom}")


def _short_startup(book: Notebook, faults: Faults, large: Sizing) -> None:
    probe = _guides(book, f"{_SERVER}.startupProbe")
    allowed, load = probe["periodSeconds"] * probe["failureThreshold"], large.startup.load_seconds
    rate = large.params.platform.storage.read_mib_per_second
    words = f"By the sizing the 70B loads for {load:.0f} s at {rate} MiB/s; the startup probe allows {allowed} s."
    faults.note(3, words, part="startup", shown=load > allowed)


def _metric(book: Notebook, faults: Faults, prometheus: Prometheus | None) -> None:
    metric, queue = "vllm_pending_requests_total", "vllm:num_requests_waiting"
    text = deploy.endpoint(naive.room(book), naive.SERVICE).text("metrics")
    there = f"/metrics has {queue}, a gauge" if f"# TYPE {queue} gauge" in text else f"/metrics has no {queue} either"
    faults.note(7, f"{there}; {metric} is not there.", part="metric", shown=metric not in text)
    query = k8s.get_in(naive.scaled_object(book), "spec.triggers[0].metadata.query")
    if prometheus is None:
        faults.note(7, "No Prometheus was asked.", part="query", shown=False)
    elif found := prometheus.query(query):
        faults.note(7, f"Prometheus yields {len(found)} series for its query.", part="query", shown=False)
    else:
        faults.note(7, "Prometheus yields nothing for its query, without an error.", part="query")


def _scaled_object(book: Notebook, faults: Faults) -> None:
    if not book.cluster.serves("ScaledObject"):
        faults.note(7, "There is no ScaledObject here before notebook 06.", part="object", shown=False)
        return
    try:
        book.cluster.apply(naive.scaled_object(book), dry_run=True)
        words = "A dry run of its ScaledObject is accepted: the API server reads neither queries nor metricName."
    except ApiError as error:
        words = f"A dry run of its ScaledObject: {error.message}"
    faults.note(7, words, part="object")


def _eviction(book: Notebook, faults: Faults, pod: Object) -> None:
    budget, ref = Ref("PodDisruptionBudget", naive.BUDGET, naive.namespace(book)), k8s.ref_of(pod)

    def counted(state: State) -> bool:
        return bool(k8s.get_in(state.only(budget.kind), "status.currentHealthy", 0))

    k8s.wait(book.cluster, f"{budget} counts the ready pod", [Selection.of(budget)], counted, seconds=60)
    if refusal := evict(book.cluster, pod, dry_run=True):
        faults.note(8, f"An eviction (dry run) is refused: {refusal}.", part="eviction")
    else:
        faults.note(8, "The only pod may be evicted.", part="eviction", shown=False)
    book.cluster.delete(ref, dry_run=True)
    faults.note(8, "A deletion (dry run) isn't.", part="deletion")


def _surge(book: Notebook, faults: Faults) -> None:
    resource = book.params.platform.gpu.resource
    usage = gpu_usage(gpu_nodes.ready_nodes(book), book.cluster.list("Pod"), resource)
    free, total = sum(node.free for node in usage), sum(node.allocatable for node in usage)
    found = "an update finds its spare one" if free else "an update would hang Pending"
    faults.note(9, f"{free} of {total} GPUs are free now: {found}. Notebook 07 updates a full cluster.")


def _shutdown(faults: Faults, pod: Object) -> None:
    server = pod["spec"]["containers"][0]
    hook = k8s.get_in(server, "lifecycle.preStop")
    drains = any("--shutdown-timeout" in word for word in server["args"])
    words = (
        f"The pod has {'a' if hook else 'no'} preStop hook, {'a' if drains else 'no'} --shutdown-timeout, and a grace "
        f"period of {pod['spec']['terminationGracePeriodSeconds']} s. Notebook 07 counts what it loses."
    )
    faults.note(10, words, shown=not hook and not drains)


def _taints(book: Notebook, faults: Faults) -> None:
    wanted = {item["key"] for item in _guides(book, f"{_POD}.tolerations")}
    known: dict[str, set[str]] = {}
    for name in parameters.names("platform"):
        platform = parameters.load(name, book.params.files["model"]).platform
        taints = [*platform.gpu.tolerations, *(platform.spot.taints if platform.spot else ())]
        known[name] = {taint.key for taint in taints}
    here = {taint["key"] for node in book.cluster.list("Node") for taint in node["spec"].get("taints", ())}
    elsewhere = set().union(*known.values())
    common = wanted & (here | elsewhere)
    words = (
        f"No node here has such a taint, and no platform that we know ({', '.join(known)}). What is tolerated there: "
        f"{', '.join(sorted(elsewhere))}."
    )
    faults.note(11, f"There are {', '.join(sorted(common))}." if common else words, shown=not common)


def _server_side(book: Notebook, faults: Faults) -> None:
    if kubectl := tools.find("kubectl"):
        done = subprocess.run([kubectl, "get", "pods", "--server-side=true"], capture_output=True, text=True)
        said = (done.stderr or done.stdout).strip().partition("\n")[0].partition(": ")[2]
        faults.note(12, f"kubectl: {said}.", part="kubectl", shown="unknown flag" in said)
    else:
        faults.note(12, "There is no kubectl to ask.", part="kubectl", shown=False)
    found = list(book.cluster.list("Pod", naive.namespace(book), labels=naive.PODS))
    every = list(book.cluster.list("Pod", naive.namespace(book), metadata_only=True))
    words = f"Asked for {naive.PODS}, the API server sends {len(found)} of {len(every)} pods: it did the filtering."
    faults.note(12, words, part="selector", shown=False)


def _old_version(book: Notebook, faults: Faults) -> None:
    versions = [each["version"] for each in book.cluster.json("GET", "/apis/policy")["versions"]]
    server = book.cluster.json("GET", "/version")["gitVersion"]
    words = (
        f"This API server ({server}) serves policy/{', policy/'.join(versions)}; /apis/policy/v1beta1 is 404 Not Found."
    )
    try:
        book.cluster.json("GET", "/apis/policy/v1beta1")
        faults.note(13, "This API server still serves policy/v1beta1.", shown=False)
    except ApiError as error:
        faults.note(13, words, shown=error.code == 404)


def _loose_ends(book: Notebook, faults: Faults, pod: Object) -> None:
    kinds = {item["kind"] for item in (*naive.guide(book), naive.scaled_object(book))}
    lacking = [kind for kind in ("Namespace", "Service", "Secret") if kind not in kinds]
    faults.note(14, f"Its objects include no {', no '.join(lacking)}.", part="objects", shown=bool(lacking))
    defaulted = book.cluster.apply(naive.deployment(book, {}), dry_run=True)
    policy = k8s.get_in(defaulted, f"{_SERVER}.imagePullPolicy")
    words = f"For latest the API server sets imagePullPolicy {policy}: each start takes what the tag means then."
    faults.note(14, words, part="image", shown=policy == "Always")
    quality = pod["status"]["qosClass"]
    faults.note(14, f"The pod's QoS class is {quality}.", part="qos", shown=quality != "Guaranteed")


def _memory(book: Notebook, faults: Faults, large: Sizing) -> None:
    asked = _guides(book, f"{_SERVER}.resources.requests.memory")
    node = max(parse(k8s.get_in(each, "status.allocatable.memory", 0)) for each in gpu_nodes.ready_nodes(book))
    needed, admitted = large.host.memory_gib, large.host.max_num_queued_reqs
    words = (
        f"{asked} is {100 * parse(asked) / node:.0f} % of a GPU node here. By the sizing {needed}Gi are enough for the "
        f"processes and {admitted} admitted requests; the weights need none."
    )
    faults.note(15, words, shown=parse(asked) > needed * 2**30)


def _priority(book: Notebook, faults: Faults, pod: Object) -> None:
    own = pod["spec"].get("priority", 0)
    lower = sum(each["spec"].get("priority", 0) < own for each in book.cluster.list("Pod"))
    notices = {
        name: platform.spot.notice_seconds
        for name in parameters.names("platform")
        if (platform := parameters.load(name, book.params.files["model"]).platform).spot
    }
    first = (
        "no pod here has a lower one: with a lower class it would be the first to go"
        if not lower
        else f"{lower} pods have a lower one"
    )
    told = ", ".join(f"{name} {seconds} s" for name, seconds in notices.items())
    faults.note(16, f"Its priority is {own}; {first}. Notices of a reclaim: {told}.")


# -- what the readings share ----------------------------------------------------------------------


def _guides(book: Notebook, path: str) -> Any:
    """A value of the guide's Deployment as it is."""
    return k8s.get_in(naive.deployment(book, {}), path)


def _serving(book: Notebook) -> Object:
    """A ready pod of the mended deployment.

    Raises:
        TimedOut: there is none.
    """
    deploy.endpoint(naive.room(book), naive.SERVICE)
    pods = book.cluster.list("Pod", naive.namespace(book), labels=naive.PODS)
    return next(pod for pod in pods if k8s.is_true(pod, "Ready") and not pod["metadata"].get("deletionTimestamp"))


def _large(book: Notebook) -> Sizing:
    """The guide's model, sized for one GPU of this platform."""
    loaded = parameters.load(book.params.files["platform"], _LARGE, {"model.tensor_parallel_size": 1})
    return sizing.size(Params(book.params.platform, loaded.model))


def _up(book: Notebook, pod: Object) -> datetime | None:
    """When the server said that it had started, by its log's times; None when the log no longer reaches back so far."""
    path = book.cluster.path("Pod", name=pod["metadata"]["name"], namespace=pod["metadata"]["namespace"]) + "/log"
    query = {"timestamps": "true", "limitBytes": 2**18}
    lines = book.cluster.raw("GET", path, query=query, doing="Reading the server's log").data.decode().splitlines()
    found = [line.split(" ", 1)[0] for line in lines if "startup complete" in line]
    return datetime.fromisoformat(found[0]) if found else None
