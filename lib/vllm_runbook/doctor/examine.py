"""One look at a namespace: lists with selectors and in pages, and no more than the rules need.

What may not be read is noted and the rest examined: a doctor with half the permissions still sees half. Logs are
read of containers in trouble only, of those of one workload just a few, and never more than a hundred: with so many in
trouble one log more says nothing new.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from operator import itemgetter

import urllib3

from .. import cluster as k8s
from ..cluster import ApiError, Cluster, Object, Ref, get_in
from ..errors import RunbookError
from ..plots.nodes import holder, pod_gpus
from ..steps.keda import API_SERVICE
from .context import Context
from .snapshot import Log, Metrics, Snapshot, claims_of, over, owner_of, statuses

#: Kinds of the namespace. Without the first two there is nothing to judge.
ESSENTIAL = ("Pod", "Event")
_NAMESPACED = (
    "Deployment",
    "Job",
    "PersistentVolumeClaim",
    "Service",
    "EndpointSlice",
    "HorizontalPodAutoscaler",
    "PodDisruptionBudget",
    "NetworkPolicy",
)
_CLUSTER = ("Node", "StorageClass")
#: Events that every healthy start leaves behind; the server leaves them out.
_ORDINARY = ("Scheduled", "Pulling", "Pulled", "Created", "Started", "SuccessfulCreate", "SuccessfulDelete")
_LINES, _BYTES, _ALIKE, _LOGS = 400, 2**18, 3, 100
#: Seconds that a container may run without being ready before its log is worth reading.
_QUIET = 30
_RECENT = 3600
_DEPRECATED = re.compile(r"^apiserver_requested_deprecated_apis\{(.*)\} [1-9]")
_LABELS = re.compile(r'(\w+)="([^"]*)"')


@k8s.collector_waits()
def examine(cluster: Cluster, context: Context) -> Snapshot:
    """Read what the rules need.

    Raises:
        RunbookError: there is no such namespace, or its pods and events may not be read.
    """
    found = Snapshot(context, _clock(cluster))
    look = _Look(cluster, found)
    _require_namespace(cluster, context.namespace)
    ordinary = ",".join(f"reason!={reason}" for reason in _ORDINARY)
    look.list("Event", context.namespace, fields=ordinary, keep=_without_managers)
    look.list("Pod", context.namespace, keep=_pod)
    if missing := [kind for kind in ESSENTIAL if not found.saw(kind)]:
        why = "\n".join(f"{what}: {reason}" for what, reason in found.gaps)
        raise RunbookError(f"{context.namespace} can't be examined without its {missing[0]} objects", why=why)
    for kind in _NAMESPACED:
        look.list(kind, context.namespace, keep=_with_versions)
    for kind in _CLUSTER:
        look.list(kind, keep=_without_managers)
    _autoscaler(look, context)
    if any(_waits_for_gpus(pod, context.resource) for pod in found.all("Pod")):
        _gpus(look, context)
    _logs(look)
    _versions(look)
    return found


class _Look:
    """Reads into a snapshot, and notes what could not be read."""

    def __init__(self, cluster: Cluster, found: Snapshot) -> None:
        self.cluster = cluster
        self.found = found

    def attempt(self, what: str, read: Callable[[], None]) -> None:
        """Read something; a refusal becomes a gap."""
        try:
            read()
        except RunbookError as error:
            self.found.gaps.append((what, error.why.partition("\n")[0] or error.what))
        except urllib3.exceptions.HTTPError as error:
            self.found.gaps.append((what, f"no answer: {error}"))

    def list(
        self, kind: str, namespace: str = "", *, fields: str = "", keep: Callable[[Object], Object] = lambda item: item
    ) -> None:
        """List a kind, trimmed by ``keep`` page by page."""

        def read() -> None:
            self.found.objects[kind] = [keep(item) for item in self.cluster.list(kind, namespace, fields=fields)]

        self.attempt(f"{kind} objects{' of ' + namespace if namespace else ''}", read)


def _clock(cluster: Cluster) -> datetime:
    """The API server's time: ages are compared with stamps that it set, whatever this machine's clock says."""
    return parsedate_to_datetime(cluster.raw("GET", "/version", doing="Asking for the time").headers["Date"])


def _require_namespace(cluster: Cluster, name: str) -> None:
    try:
        there = cluster.find(Ref("Namespace", name)) is not None
    except ApiError:
        return  # may not be asked; its pods may be
    if not there:
        raise RunbookError(
            f"There is no namespace {name} in {cluster.context}", next_step="Name another one: --namespace NAME"
        )


# -- trimming --------------------------------------------------------------------------------------


def _without_managers(item: Object) -> Object:
    item["metadata"].pop("managedFields", None)
    return item


def _with_versions(item: Object) -> Object:
    """Of the managed fields, only who wrote in which version."""
    managers = item["metadata"].get("managedFields") or ()
    item["metadata"]["managedFields"] = [
        {"manager": each.get("manager", ""), "apiVersion": each.get("apiVersion", "")} for each in managers
    ]
    return item


def _pod(pod: Object) -> Object:
    """A pod; of one that is well only what other objects' rules need, so that many of them fit into memory."""
    pod = _without_managers(pod)
    if not _well(pod):
        return pod
    meta, spec, status = pod["metadata"], pod["spec"], pod["status"]
    kept = ("name", "namespace", "uid", "labels", "ownerReferences", "creationTimestamp")
    claims = [{"name": "", "persistentVolumeClaim": {"claimName": claim}} for claim in claims_of(pod)]
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {name: meta[name] for name in kept if name in meta},
        "spec": {"nodeName": spec.get("nodeName", ""), "volumes": claims, "priority": spec.get("priority", 0)},
        "status": {"phase": status["phase"], "conditions": [k8s.condition(pod, "Ready")] if not over(pod) else []},
    }


def _well(pod: Object) -> bool:
    if pod["metadata"].get("deletionTimestamp"):
        return False
    if get_in(pod, "status.phase") == "Succeeded":
        return True
    return k8s.is_true(pod, "Ready") and not any(status.get("restartCount") for status in statuses(pod))


# -- what is read only when it matters ----------------------------------------------------------------


def _waits_for_gpus(pod: Object, resource: str) -> bool:
    return not over(pod) and not pod["spec"].get("nodeName") and pod_gpus(pod, resource) > 0


def _gpus(look: _Look, context: Context) -> None:
    """Who holds the GPUs, and who is to offer them."""
    fields = "status.phase!=Succeeded,status.phase!=Failed"

    def holders() -> None:
        pods = look.cluster.list("Pod", fields=fields)
        trimmed = (holder(pod, context.resource) for pod in pods if pod_gpus(pod, context.resource))
        look.found.holders = list(trimmed)

    def plugin_pods() -> None:
        pods = look.cluster.list("Pod", context.plugin_namespace, fields=fields)
        look.found.objects["PluginPod"] = [pod for pod in pods if "device-plugin" in str(pod["spec"]["containers"])]

    look.attempt("pods of other namespaces (who holds the GPUs)", holders)
    look.list("DaemonSet", keep=_without_managers)
    look.attempt(f"pods of {context.plugin_namespace} (the device plugin)", plugin_pods)


def _autoscaler(look: _Look, context: Context) -> None:
    if look.cluster.serves("ScaledObject"):
        look.list("ScaledObject", context.namespace, keep=_with_versions)

    def service() -> None:
        found = look.cluster.find(API_SERVICE)
        look.found.objects["APIService"] = [found] if found else []

    if look.found.all("ScaledObject") or look.found.all("HorizontalPodAutoscaler"):
        look.attempt(str(API_SERVICE), service)


# -- logs ---------------------------------------------------------------------------------------------


def _logs(look: _Look) -> None:
    """Ends of the logs of containers in trouble, a few of each kind; a gap says how many are left unread."""
    wanted = sorted(_wanted(look.found), key=itemgetter(0))
    for _, pod, container, previous in wanted[:_LOGS]:
        look.attempt(f"log of {pod['metadata']['name']}", _reading(look, pod, container, previous))
    if (more := len(wanted) - _LOGS) > 0:
        look.found.gaps.append((f"logs of {more:,} more containers in trouble", f"the first {_LOGS} were read"))


def _wanted(found: Snapshot) -> Iterator[tuple[int, Object, str, bool]]:
    """Pods and containers whose logs tell why they are in trouble, and whether it is the previous run's that does.

    Before each: how many before it had the same image and the same end. What differs is to be read first.
    """
    read: Counter[tuple[object, ...]] = Counter()
    alike: Counter[tuple[object, ...]] = Counter()
    done = {item["metadata"]["name"] for item in found.all("Job") if k8s.is_true(item, "Complete")}
    for pod in found.all("Pod"):
        owner = owner_of(pod)
        if owner[0] == "Job" and owner[1] in done:
            continue
        for status in statuses(pod):
            previous = _in_trouble(found, pod, status)
            code = get_in(status, "state.terminated.exitCode")
            group = (owner, status["name"], previous, code)
            if previous is not None and read[group] < _ALIKE:
                kind = (status.get("image"), code, get_in(status, "lastState.terminated.exitCode"))
                yield alike[kind], pod, status["name"], previous
                read[group] += 1
                alike[kind] += 1


def _in_trouble(found: Snapshot, pod: Object, status: Object) -> bool | None:
    """Whether the log of a container's previous run is the one to read; None: no log is."""
    state, last = status.get("state", {}), get_in(status, "lastState.terminated")
    if ended := state.get("terminated"):
        return False if ended.get("exitCode") else None
    if last and last.get("exitCode") is not None and found.since(last.get("finishedAt")) < _RECENT:
        return True
    running = state.get("running")
    if running and not status.get("ready") and found.since(running.get("startedAt")) > _QUIET:
        return False
    if running and owner_of(pod)[0] == "Job" and found.since(running.get("startedAt")) > _QUIET:
        return False
    return None


def _reading(look: _Look, pod: Object, container: str, previous: bool) -> Callable[[], None]:
    meta = pod["metadata"]
    path = look.cluster.path("Pod", name=meta["name"], namespace=meta["namespace"]) + "/log"
    query = {"container": container, "tailLines": _LINES, "limitBytes": _BYTES}

    def read() -> None:
        # The status may lag behind the container by one restart: then the other log is the one.
        for which in (previous, False) if previous else (previous,):
            more = {"previous": "true"} if which else {}
            try:
                answer = look.cluster.raw("GET", path, query=query | more, doing="Reading a log")
            except ApiError as error:
                if error.code in (400, 404):  # it has none (yet, or any more)
                    continue
                raise
            lines = tuple(answer.data.decode(errors="replace").splitlines())
            if lines:
                look.found.logs[meta["uid"], container] = Log(lines, which)
                return

    return read


# -- API versions -------------------------------------------------------------------------------------


def written_in(item: Object) -> set[str]:
    """API versions that an object's managers wrote it in."""
    return {each["apiVersion"] for each in item["metadata"].get("managedFields") or () if each.get("apiVersion")}


def _versions(look: _Look) -> None:
    """What the server serves, what it says about versions that were used, and what it counted."""

    def served() -> None:
        groups = look.cluster.json("GET", "/apis", doing="Asking for the API versions")["groups"]
        versions = {each["groupVersion"] for group in groups for each in group["versions"]}
        look.found.served = frozenset(versions | {"v1"})

    def counted() -> None:
        text = look.cluster.raw("GET", "/metrics", doing="Reading the API server's metrics").data.decode()
        look.found.metrics = Metrics(tuple(_deprecated(text.splitlines())))

    look.attempt("API versions", served)
    look.attempt("metrics of the API server (deprecated API versions)", counted)
    warnings: dict[tuple[str, str], str] = {}
    for kind in (*_NAMESPACED, "ScaledObject"):
        items = look.found.all(kind)
        for version in set().union(*map(written_in, items)) if items else ():
            if version in look.found.served and version != k8s.API_VERSIONS[kind]:
                look.attempt(f"{kind} {version}", _warning(look, kind, version, warnings))
    look.found.warnings = warnings


def _deprecated(lines: Iterable[str]) -> Iterable[tuple[str, str, str]]:
    """Counted versions that have an end: what never goes (v1 Endpoints) is used by the control plane itself."""
    for line in lines:
        if match := _DEPRECATED.match(line):
            labels = dict(_LABELS.findall(match[1]))
            if labels.get("removed_release"):
                version = f"{labels['group']}/{labels['version']}".lstrip("/")
                yield version, labels["resource"], labels["removed_release"]


def _warning(look: _Look, kind: str, version: str, warnings: dict[tuple[str, str], str]) -> Callable[[], None]:
    def read() -> None:
        path = look.cluster.path(kind, namespace=look.found.context.namespace, api_version=version)
        answer = look.cluster.raw("GET", path, query={"limit": 1}, doing=f"Asking about {version} {kind}")
        if said := re.search(r'299 \S+ "(.*?)"', answer.headers.get("Warning", "")):
            warnings[version, kind] = said[1]

    return read
