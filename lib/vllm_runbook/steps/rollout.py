"""New versions: good ones that replace the old without a lost request, bad ones that stall, and the way back."""

from __future__ import annotations

from typing import Any

from .. import cluster as k8s
from ..cluster import Object, Ref, Selection, State
from ..cluster import explain as explaining
from ..errors import RunbookError
from ..notebook import Notebook
from ..tables import Table
from . import deploy, workloads

_POD = "spec.template.spec.containers[0]"

#: Versions that must not take over: what is changed, and how it shows.
BAD: dict[str, dict[str, Any]] = {
    "crash loop": {"flag": "--no-such-flag"},
    "never ready": {f"{_POD}.readinessProbe.httpGet.path": "/no-such-path"},
}


def ending(book: Notebook) -> Table:
    """How long a pod's end may take, second by second, and where the numbers come from; notes the check."""
    end, model = book.sizing.shutdown, book.params.model
    answer = f"{model.longest_output_tokens} tokens at {model.slowest_tokens_per_second:g} per second"
    used = end.prestop_seconds + end.shutdown_timeout_seconds
    book.check("the grace period outlasts preStop and drain", end.grace_period_seconds > used)
    rows = [
        ("preStop sleep", f"{end.prestop_seconds} s", "until every proxy has taken the endpoint out"),
        ("--shutdown-timeout", f"{end.shutdown_timeout_seconds} s", f"the longest answer: {answer}"),
        ("terminationGracePeriodSeconds", f"{end.grace_period_seconds} s", "both and a margin; then SIGKILL"),
    ]
    return Table(("part", "seconds", "why"), rows)


def new_version(item: Object, flag: str) -> Object:
    """A Deployment with one more flag: a new version whose image every cluster can pull."""
    return k8s.changed(item, {f"{_POD}.args": [*k8s.get_in(item, f"{_POD}.args"), flag]})


def bad_version(book: Notebook, kind: str) -> Object:
    """Our Deployment, broken in one of the ways of :data:`BAD`."""
    item = deploy.deployment(book.params, book.sizing)
    fields = dict(BAD[kind])
    if flag := fields.pop("flag", ""):
        fields[f"{_POD}.args"] = [*k8s.get_in(item, f"{_POD}.args"), flag]
    return k8s.changed(item, fields)


def wait_stalled(book: Notebook) -> str:
    """Watch until the new version has shown that it can't serve; returns how, in words.

    Crashed, or started and refused by its readiness probe. Notes that the old replicas all stayed.

    Raises:
        TimedOut: neither happened.
    """
    target = Ref("Deployment", deploy.DEPLOYMENT, book.namespace)
    seen: list[str] = []

    def reached(state: State) -> bool:
        refusals = _refusals(state)
        for pod in workloads.new_pods(state):
            words = _refused(pod, refusals) or explaining.trouble(pod)
            if words and not words.startswith("not scheduled"):
                seen.append(words)
                return True
        return False

    events = Selection("Event", book.namespace, fields="reason=Unhealthy")
    state = k8s.wait(
        book.cluster,
        f"the new version of {target} shows that it can't serve",
        [*deploy.selections(book), events],
        reached,
        seconds=120 + book.sizing.startup.load_seconds,
        explain=lambda state: explaining.why(book.cluster, state.all("Pod"), target),
    )
    item = state.only("Deployment") or {}
    ready = k8s.get_in(item, "status.readyReplicas", 0)
    wanted = k8s.get_in(item, "spec.replicas", 1)
    book.check("the old version keeps all its replicas while a bad one tries", ready >= wanted, f"{ready} of {wanted}")
    return seen[0]


def _refusals(state: State) -> dict[str, str]:
    """What a readiness probe that failed says, by the uid of its pod."""
    found: dict[str, str] = {}
    for event in state.all("Event"):
        if event.get("message", "").startswith("Readiness probe failed"):
            found.setdefault(k8s.get_in(event, "involvedObject.uid"), event["message"])
    return found


def _refused(pod: Object, refusals: dict[str, str]) -> str:
    """A pod whose server runs, and whose readiness probe said no after it had started."""
    running = any(status.get("started") and not status.get("ready") for status in _statuses(pod))
    said = refusals.get(pod["metadata"]["uid"])
    return f"the server runs and never gets ready: {said}" if running and said else ""


def _statuses(pod: Object) -> list[Object]:
    return list(k8s.get_in(pod, "status.containerStatuses", ()))


def rollback(book: Notebook) -> int:
    """Go back to the version before, in one call; returns the revision that was taken back.

    As ``kubectl rollout undo`` does it (the pod template of the previous ReplicaSet), but applied by our field
    manager, so that the next plan finds nothing to quarrel with.

    Raises:
        RunbookError: there is no earlier version.
    """
    target = Ref("Deployment", deploy.DEPLOYMENT, book.namespace)
    now = int(k8s.get_in(book.cluster.get(target), workloads.REVISION, 0))
    earlier = [
        (int(k8s.get_in(each, workloads.REVISION, 0)), each)
        for each in book.cluster.list("ReplicaSet", book.namespace, labels=deploy.PODS)
        if 0 < int(k8s.get_in(each, workloads.REVISION, 0)) < now
    ]
    if not earlier:
        raise RunbookError(f"{target} has no earlier version", why=f"its revision is {now}")
    revision, replica_set = max(earlier, key=lambda pair: pair[0])
    template = k8s.changed(
        replica_set["spec"]["template"],
        {"metadata.labels[pod-template-hash]": None, "metadata.creationTimestamp": None},
    )
    item = deploy.deployment(book.params, book.sizing)
    item["spec"]["template"] = template
    book.put(item)
    return revision


def wait_done(book: Notebook) -> None:
    """Watch until every replica is of the newest version and ready; notes the check.

    Raises:
        Hopeless: a pod of it can't start.
        TimedOut: with the pods' troubles.
    """
    target = Ref("Deployment", deploy.DEPLOYMENT, book.namespace)
    workloads.wait_serving(book, target, deploy.PODS, seconds=600 + book.sizing.startup.load_seconds)
    book.check("the Deployment is back at the version of the parameters", True)
