"""Why a pod isn't well: its containers' states, its conditions, its events and its last log lines."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import RunbookError
from .client import ApiError, Cluster
from .objects import Object, Ref, ref_of

#: Waiting reasons that don't mend themselves.
STUCK = (
    "CrashLoopBackOff",
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
)


def trouble(pod: Object) -> str:
    """In one line what is wrong with a pod; empty if nothing is."""
    status = pod.get("status", {})
    for container in [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]:
        if found := _container_trouble(container):
            return found
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"not scheduled: {condition.get('message', condition.get('reason', ''))}"
    if status.get("phase") == "Failed":
        return f"failed: {status.get('reason', '')} {status.get('message', '')}".strip()
    return ""


def _container_trouble(container: Object) -> str:
    name, state, last = container["name"], container.get("state", {}), container.get("lastState", {})
    ended = state.get("terminated") or last.get("terminated") or {}
    waiting = state.get("waiting", {})
    if waiting.get("reason") in STUCK and waiting["reason"] != "CrashLoopBackOff":
        return f"container {name}: {waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")
    if ended and ended.get("exitCode"):
        restarts = container.get("restartCount", 0)
        again = f", {restarts} restart{'s' if restarts != 1 else ''}" if restarts else ""
        said = f": {ended['message'].strip()}" if ended.get("message") else ""
        return (
            f"container {name} ended with exit code {ended['exitCode']} ({ended.get('reason', 'Error')}){again}{said}"
        )
    return ""


def events_of(cluster: Cluster, ref: Ref, uid: str = "", limit: int = 8) -> list[str]:
    """The newest events about an object, oldest first: ``Warning FailedScheduling: 0/4 nodes …``."""
    fields = f"involvedObject.name={ref.name},involvedObject.kind={ref.kind}"
    if uid:
        fields += f",involvedObject.uid={uid}"
    found = sorted(cluster.list("Event", ref.namespace or "default", fields=fields), key=_time)
    lines = [
        f"{event.get('type', '')} {event.get('reason', '')}: {event.get('message', '').strip()}"
        for event in found[-limit:]
    ]
    return list(dict.fromkeys(lines))


def _time(event: Object) -> tuple[str, int]:
    """When it happened last; times have whole seconds, so that ties are broken by the order of writing."""
    series = event.get("series") or {}
    seen = (
        series.get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
        or event["metadata"]["creationTimestamp"]
    )
    return str(seen), int(event["metadata"]["resourceVersion"])


def last_lines(
    cluster: Cluster, pod: Ref, container: str = "", *, previous: bool = False, count: int = 15
) -> list[str]:
    """The last lines of a container's log; empty when there is none."""
    path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/log"
    query = {"container": container, "tailLines": count, "previous": "true" if previous else ""}
    try:
        response = cluster.raw("GET", path, query=query, doing=f"Reading the log of {pod}")
    except ApiError:
        return []
    return str(response.data.decode(errors="replace")).splitlines()


def why(cluster: Cluster, pods: Iterable[Object], owner: Ref | None = None) -> str:
    """Everything that helps to understand why these pods (or their missing) are in the way.

    Of many troubled pods the first is told in full: they usually share their trouble.
    """
    found: list[str] = []
    troubled = [pod for pod in pods if trouble(pod)]
    for pod in troubled[:1]:
        ref = ref_of(pod)
        found.append(f"{ref}: {trouble(pod)}")
        found += [f"  {line}" for line in events_of(cluster, ref, pod["metadata"]["uid"])]
        found += _log_part(cluster, pod)
    if len(troubled) > 1:
        found.append(f"and {len(troubled) - 1} more pods likewise")
    if owner is not None and not troubled:
        found += [f"{owner}: {line}" for line in events_of(cluster, owner)]
    return "\n".join(found) or "no event and no log line tells why"


def failed_log(cluster: Cluster, pod: Object) -> tuple[str, list[str]]:
    """The container that is in trouble, and the last lines of its failed run; empty where nothing failed."""
    status = pod.get("status", {})
    for container in [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]:
        if _container_trouble(container):
            first = bool(container.get("restartCount")) and "terminated" not in container.get("state", {})
            # The status may lag behind the container by one restart: then the other log is the one.
            for previous in (first, not first):
                if lines := last_lines(cluster, ref_of(pod), container["name"], previous=previous):
                    return container["name"], lines
    return "", []


def _log_part(cluster: Cluster, pod: Object) -> list[str]:
    container, lines = failed_log(cluster, pod)
    return [f"  last lines of container {container}:", *(f"    {line}" for line in lines)] if lines else []


def pod_error(cluster: Cluster, what: str, pod: Object, next_step: str) -> RunbookError:
    """The error of a step that ends because of one pod."""
    return RunbookError(what, why=why(cluster, [pod]), next_step=next_step)
