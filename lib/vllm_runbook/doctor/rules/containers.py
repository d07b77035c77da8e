"""Containers that end: by the kernel, by a probe, or by their own error; told apart by status, event and log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ... import cluster as k8s
from ...cluster import Object, get_in
from ..findings import Evidence, Finding, Severity
from ..snapshot import Log, Snapshot, container_of, over, owner_of, statuses
from .common import event, keys, seen, workload
from .starts import Recognized, recognize

#: Seconds after which the end of a container that has recovered is no longer told as a warning.
_RECENT = 3600
_MISSING = ("CreateContainerConfigError",)
_BROKEN = ("CreateContainerError", "RunContainerError")
#: A server that has started says so; then a probe that ends it is another matter than a slow load.
_STARTED = ("Application startup complete", "startup complete")
_LAST_LINES = 5


def runs(snap: Snapshot) -> Iterator[Finding]:
    """At most one finding for each container: the first of these that fits."""
    for pod in snap.all("Pod"):
        kind, name = owner_of(pod)
        job = snap.named("Job", name) if kind == "Job" else None
        if k8s.is_true(job, "Complete") or (over(pod) and kind != "Job"):
            continue  # another one has done its work, or does it
        found = next(filter(None, (_container(snap, pod, status) for status in statuses(pod))), None)
        if found is not None:
            again = over(pod) and get_in(job or {}, "status.active", 0)
            yield replace(found, severity="warning") if again else found


def _container(snap: Snapshot, pod: Object, status: Object) -> Finding | None:
    waiting = get_in(status, "state.waiting", {})
    if waiting.get("reason") in (*_MISSING, *_BROKEN):
        return _not_created(snap, pod, status, waiting)
    log = snap.logs.get((pod["metadata"]["uid"], status["name"]))
    ended = get_in(status, "state.terminated") or get_in(status, "lastState.terminated") or {}
    if ended.get("reason") in ("StartError", "ContainerCannotRun"):
        return _not_created(snap, pod, status, ended)
    if ended.get("reason") == "OOMKilled":
        return _oom(snap, pod, status, ended)
    looping = waiting.get("reason") == "CrashLoopBackOff"
    if not looping and not ended.get("exitCode") and not _probed(snap, pod, status):
        return _running(snap, pod, status, log)
    if pod["metadata"].get("deletionTimestamp") or _long_ago(snap, status, ended):
        return None
    said = recognize([*(log.lines if log else ()), *str(ended.get("message") or "").splitlines()], snap.context)
    tries_on = owner_of(pod)[0] == "Job"  # its container is ready as soon as it runs: no sign of recovery
    if said is not None and (tries_on or not said.known.weak or not _recovered(status)):
        return _recognized(snap, pod, status, said, log, ended)
    if probe := _probed(snap, pod, status):
        return _killed_by_probe(snap, pod, status, probe, log, ended)
    return _crashed(snap, pod, status, log, ended)


def _recovered(status: Object) -> bool:
    return bool(status.get("ready"))


def _long_ago(snap: Snapshot, status: Object, ended: Object) -> bool:
    """Whether the container has recovered, and its end is no news."""
    return _recovered(status) and snap.since(ended.get("finishedAt")) > _RECENT


def _severity(status: Object) -> Severity:
    """What runs again is worth a warning, not an error."""
    return "warning" if _recovered(status) else "error"


def _state(pod: Object, status: Object, ended: Object) -> Evidence:
    waits = get_in(status, "state.waiting.reason", "")
    line = (
        f"container {status['name']} ended with exit code {ended.get('exitCode')} ({ended.get('reason', 'Error')}) at "
        f"{ended.get('finishedAt', '?')}, {status.get('restartCount', 0)} restarts{', now ' + waits if waits else ''}"
    )
    return seen("object", pod, line)


def _not_created(snap: Snapshot, pod: Object, status: Object, why: Object) -> Finding:
    message = f"container {status['name']}: {why['reason']}: {why.get('message', '')}"
    missing = why["reason"] in _MISSING
    cause = (
        f"The container names something that isn't there: {why.get('message', '')}."
        if missing
        else f"The container's command can't be started: {why.get('message', '')}."
    )
    look = snap.context.kubectl("get secrets,configmaps" if missing else f"describe pod {pod['metadata']['name']}")
    code = "config-missing" if missing else "cannot-start"
    return Finding(
        code, "error", workload(pod), cause, (seen("object", pod, message),), (snap.context.run("04"), look), keys(pod)
    )


def _oom(snap: Snapshot, pod: Object, status: Object, ended: Object) -> Finding | None:
    if _long_ago(snap, status, ended):
        return None
    limit = get_in(container_of(pod, status["name"]), "resources.limits.memory", "none")
    cause = (
        f"The kernel ended container {status['name']}: it used more host memory than its limit ({limit}). "
        "Host memory isn't GPU memory: it grows with requests in the server, running or waiting, and with /dev/shm."
    )
    fix = (
        snap.context.run("04") + "  (memory from the sizing, and --max-num-queued-reqs limits the queue)",
        snap.context.run("04", "max_num_queued_reqs=…") + "  (fewer requests in the server)",
        snap.context.run("06") + "  (more replicas before the queue grows)",
    )
    evidence = [_state(pod, status, ended), *(event(pod, each) for each in snap.events(pod, "OOMKilling")[-1:])]
    return Finding("host-oom", _severity(status), workload(pod), cause, tuple(evidence), fix, keys(pod))


def _running(snap: Snapshot, pod: Object, status: Object, log: Log | None) -> Finding | None:
    """A container that has not ended; its log was read because it isn't ready for a while, or belongs to a Job."""
    if log is None or "running" not in status.get("state", {}) or _started(log):
        return None
    said = recognize(log.lines, snap.context)
    if said is None or not said.known.code.startswith("hub-") or not _last_word(said, log):
        return None
    severity: Severity = "warning"
    evidence = (seen("log", pod, said.line),)
    cause = f"{said.cause} The container is still trying."
    return Finding(said.known.code, severity, workload(pod), cause, evidence, said.fix, keys(pod))


def _last_word(said: Recognized, log: Log) -> bool:
    """Whether the trouble is among the newest lines: a retry that succeeded is followed by progress."""
    return said.line in log.lines[-4:]


def _recognized(
    snap: Snapshot, pod: Object, status: Object, said: Recognized, log: Log | None, ended: Object
) -> Finding:
    where = "previous run, " if log and log.previous else ""
    evidence = (seen("log", pod, f"{where}container {status['name']}: {said.line}"), _state(pod, status, ended))
    code, cause = said.known.code, said.cause
    if code == "read-only-volume" and _own_root(pod, status, said.line):
        code, cause = (
            "crash-loop",
            "The process writes to its own root file system, which readOnlyRootFilesystem forbids.",
        )
    if code == "volume-permission" and (path := _mounted_read_only(pod, status)):
        code, cause = "read-only-volume", f"The process writes, and {path} is mounted with readOnly: true."
    return Finding(code, _severity(status), workload(pod), cause, evidence, said.fix, keys(pod))


def _mounted_read_only(pod: Object, status: Object) -> str:
    """The mount path of the container's claim, if every claim that it mounts is read-only."""
    claims = {
        each["name"]: bool(each["persistentVolumeClaim"].get("readOnly"))
        for each in pod["spec"].get("volumes") or ()
        if "persistentVolumeClaim" in each
    }
    mounts = container_of(pod, status["name"]).get("volumeMounts") or ()
    ours = [
        (str(each["mountPath"]), each.get("readOnly") or claims[each["name"]])
        for each in mounts
        if each["name"] in claims
    ]
    return ours[0][0] if ours and all(read_only for _, read_only in ours) else ""


def _own_root(pod: Object, status: Object, line: str) -> bool:
    """Whether the line names a path outside of every mounted volume."""
    spec = container_of(pod, status["name"])
    named = [word.strip("'\":,.;()[]") for word in line.split() if word.strip("'\"(:").startswith("/")]
    mounts = [mount["mountPath"].rstrip("/") for mount in spec.get("volumeMounts") or ()]
    inside = any(path == mount or path.startswith(f"{mount}/") for path in named for mount in mounts)
    return bool(named) and not inside and bool(get_in(spec, "securityContext.readOnlyRootFilesystem"))


def _probed(snap: Snapshot, pod: Object, status: Object) -> Object | None:
    """The event of a probe that had the container ended."""
    name = status["name"]
    killed = [
        each
        for each in snap.events(pod, "Killing")
        if each.get("message", "").startswith(f"Container {name} failed ") and "probe" in each["message"]
    ]
    return killed[-1] if killed else None


def _started(log: Log) -> bool:
    return any(word in line for line in log.lines for word in _STARTED)


def _killed_by_probe(
    snap: Snapshot, pod: Object, status: Object, probe: Object, log: Log | None, ended: Object
) -> Finding:
    evidence = [event(pod, probe), *([_state(pod, status, ended)] if ended else [])]
    evidence += [seen("log", pod, f"its last line: {line}") for line in (log.lines[-1:] if log else ())]
    if "failed liveness probe" in probe["message"] and log is not None and _started(log):
        cause = "The server had started, and then didn't answer its liveness probe: overloaded, or its engine hangs."
        fix = (
            snap.context.run("04") + "  (a generous liveness probe)",
            snap.context.kubectl(f"logs {pod['metadata']['name']} --previous"),
        )
        return Finding("liveness-killed", _severity(status), workload(pod), cause, tuple(evidence), fix, keys(pod))
    spec = container_of(pod, status["name"])
    startup = spec.get("startupProbe") or {}
    budget = (startup.get("periodSeconds") or 10) * (startup.get("failureThreshold") or 3)
    cause = (
        f"The startup probe gives the server {budget} s; it was still loading when the kubelet ended it, and begins "
        "anew each time."
        if startup
        else "There is no startup probe, so that the liveness probe ends the server while it loads."
    )
    longer = (snap.context.run("04") + "  (a startup probe that outlasts the load, from the sizing)",)
    return Finding("slow-load-killed", _severity(status), workload(pod), cause, tuple(evidence), longer, keys(pod))


def _crashed(snap: Snapshot, pod: Object, status: Object, log: Log | None, ended: Object) -> Finding | None:
    if _recovered(status) or (
        get_in(status, "state.running") and owner_of(pod)[0] != "Job" and status["restartCount"] < 2
    ):
        return None  # it ended once, and its second try is under way
    lines = [line for line in (log.lines if log else str(ended.get("message") or "").splitlines()) if line.strip()]
    evidence = [_state(pod, status, ended), *(seen("log", pod, line) for line in lines[-_LAST_LINES:])]
    again = " again and again" if status.get("restartCount", 0) > 1 else ""
    cause = f"Container {status['name']} ends{again} with exit code {ended.get('exitCode')}; its last lines are below."
    logs = snap.context.kubectl(f"logs {pod['metadata']['name']} -c {status['name']}")
    fix = (logs + (" --previous" if log and log.previous else ""),)
    return Finding("crash-loop", _severity(status), workload(pod), cause, tuple(evidence), fix, keys(pod))
