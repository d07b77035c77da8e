"""What is left when no rule about a cause has spoken: pods, Deployments, Jobs and Services that aren't well.

Each of these is a symptom: it is told only where nothing else explains it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ... import cluster as k8s
from ...cluster import Object, get_in
from ..findings import Finding
from ..snapshot import Snapshot, container_of, over, owner_of, statuses
from .common import about, called, event, keys, labelled, seen, workload

#: Seconds: for readiness after the start, for an image of 10 GB, after the grace period, for a Service's pods.
_NOT_READY, _CREATING, _TERMINATING, _SERVICE = 120, 900, 60, 60


def refused(snap: Snapshot) -> Iterator[Finding]:
    """Deployments whose pods the API server doesn't admit."""
    for item in snap.all("Deployment"):
        failure = k8s.condition(item, "ReplicaFailure")
        if failure.get("status") == "True":
            message = failure.get("message", "")
            hint = snap.context.kubectl("describe resourcequotas")
            if "violates PodSecurity" in message:
                hint = snap.context.run("04") + "  (a pod that the level restricted admits)"
            evidence = (seen("object", item, f"ReplicaFailure: {failure.get('reason', '')}: {message}"),)
            cause = f"The API server refuses its pods: {message}"
            yield Finding("pod-refused", "error", called(item), cause, evidence, (hint,), about(item))


def pods(snap: Snapshot) -> Iterator[Finding]:
    """Pods that hang: while they are created, before they are ready, or at their end."""
    for pod in snap.all("Pod"):
        if over(pod):
            continue
        if end := pod["metadata"].get("deletionTimestamp"):
            if snap.since(end) > _TERMINATING:
                yield _terminating(snap, pod)
        elif pod["spec"].get("nodeName") and (found := _hanging(snap, pod)):
            yield found


def _terminating(snap: Snapshot, pod: Object) -> Finding:
    finalizers = pod["metadata"].get("finalizers") or []
    held = f"finalizers {', '.join(finalizers)} hold it" if finalizers else "its kubelet doesn't end it"
    evidence = (seen("object", pod, f"was to be gone at {pod['metadata']['deletionTimestamp']}; {held}"),)
    fix = (snap.context.kubectl(f"describe node {pod['spec'].get('nodeName', '')}", None),)
    cause = f"The pod should be gone for {int(snap.since(pod['metadata']['deletionTimestamp']))} s; {held}."
    return Finding("stuck-terminating", "warning", called(pod), cause, evidence, fix, keys(pod))


def _hanging(snap: Snapshot, pod: Object) -> Finding | None:
    fix = (snap.context.kubectl(f"describe pod {pod['metadata']['name']}"),)
    for status in statuses(pod):
        state = status.get("state", {})
        reason = get_in(state, "waiting.reason", "")
        if reason in ("ContainerCreating", "PodInitializing") and snap.age(pod) > _CREATING and not _init_runs(pod):
            newest = [event(pod, each) for each in snap.events(pod)[-2:]]
            evidence = (
                seen("object", pod, f"container {status['name']}: {reason} for {int(snap.age(pod))} s"),
                *newest,
            )
            cause = "The container isn't created yet: a large image, a volume or the network of its node."
            return Finding("stuck-creating", "warning", workload(pod), cause, evidence, fix, keys(pod))
        if "running" in state and not status.get("ready") and owner_of(pod)[0] != "Job":
            spec = container_of(pod, status["name"])
            if spec in get_in(pod, "spec.initContainers", []) or (
                spec.get("startupProbe") and not status.get("started")
            ):
                continue  # within its startup budget
            if snap.since(get_in(state, "running.startedAt")) > _NOT_READY + _delay(spec):
                failed = [each for each in snap.events(pod, "Unhealthy") if "Readiness" in each.get("message", "")]
                evidence = (
                    seen(
                        "object",
                        pod,
                        f"container {status['name']} runs since {state['running'].get('startedAt')}, not ready",
                    ),
                    *(event(pod, each) for each in failed[-1:]),
                )
                cause = "The container runs, and its readiness probe fails: no request reaches it."
                logs = (snap.context.kubectl(f"logs {pod['metadata']['name']} -c {status['name']}"),)
                return Finding("not-ready", "warning", workload(pod), cause, evidence, logs, keys(pod))
    return None


def _delay(spec: Object) -> float:
    return float((spec.get("readinessProbe") or {}).get("initialDelaySeconds") or 0)


def _init_runs(pod: Object) -> bool:
    return any("running" in status.get("state", {}) for status in get_in(pod, "status.initContainerStatuses") or ())


def rollouts(snap: Snapshot) -> Iterator[Finding]:
    """Deployments that gave up waiting for their replicas."""
    for item in snap.all("Deployment"):
        progress = k8s.condition(item, "Progressing")
        if progress.get("reason") == "ProgressDeadlineExceeded":
            status = item.get("status", {})
            evidence = (seen("object", item, f"Progressing is False: {progress.get('message', '')}"),)
            cause = f"{status.get('availableReplicas', 0)} of {item['spec'].get('replicas', 1)} replicas are available."
            fix = (snap.context.kubectl(f"rollout undo deployment/{item['metadata']['name']}"), snap.context.run("04"))
            yield Finding("rollout-stuck", "error", called(item), cause, evidence, fix, about(item))


def jobs(snap: Snapshot) -> Iterator[Finding]:
    """Jobs that failed."""
    for item in snap.all("Job"):
        failed = k8s.condition(item, "Failed")
        if failed.get("status") == "True":
            evidence = (seen("object", item, f"Failed: {failed.get('reason', '')}: {failed.get('message', '')}"),)
            cause = f"The Job gave up: {failed.get('message', '')}"
            fix = (snap.context.kubectl(f"logs job/{item['metadata']['name']}"), snap.context.run("03"))
            yield Finding("job-failed", "error", called(item), cause, evidence, fix, about(item))


def services(snap: Snapshot) -> Iterator[Finding]:
    """Services whose selector finds no pod and no workload's template, or whose pods have all been unready for long."""
    if not snap.saw("EndpointSlice") or not snap.saw("Deployment"):
        return
    ready = {
        slice_["metadata"].get("labels", {}).get("kubernetes.io/service-name")
        for slice_ in snap.all("EndpointSlice")
        if any(get_in(each, "conditions.ready", True) for each in slice_.get("endpoints") or ())
    }
    for item in snap.all("Service"):
        selector = item["spec"].get("selector") or {}
        if not selector or item["metadata"]["name"] in ready or snap.age(item) < _SERVICE:
            continue
        found = snap.selected(selector)
        templates = [each for each in snap.all("Deployment") if labelled(each["spec"]["template"], selector)]
        if not found and not templates:
            yield _selects_nothing(snap, item, selector)
        elif not found:
            for each in templates:
                if each["spec"].get("replicas", 1) and snap.age(each) > _SERVICE:
                    yield _without(snap, item, templates)
                    break


def _words(selector: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in selector.items())


def _selects_nothing(snap: Snapshot, item: Object, selector: Mapping[str, str]) -> Finding:
    words = _words(selector)
    evidence = (seen("object", item, f"selector {words}: no pod and no Deployment's template has these labels"),)
    cause = "The Service's selector matches nothing: a typo in it, or its workload isn't deployed."
    fix = (snap.context.kubectl("get pods --show-labels"), snap.context.run("04"))
    return Finding("no-endpoints", "warning", called(item), cause, evidence, fix, about(item))


def _without(snap: Snapshot, item: Object, templates: list[Object]) -> Finding:
    names = ", ".join(called(each) for each in templates)
    evidence = (seen("object", item, f"no ready endpoint; {names} has no pods"),)
    cause = "The Service has no pod to send requests to, though its workload is to have some."
    marked = about(item).union(*map(about, templates))
    return Finding("no-endpoints", "error", called(item), cause, evidence, (snap.context.run("04"),), marked)
