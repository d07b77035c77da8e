"""The walk: the usual guide's deployment as it is, then mended fault by fault until it serves.

Each stage applies the guide's objects with everything mended that came before, waits for what happens, prints why
(events, log lines), and returns what was seen as a table. A stage can be run again.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .. import cluster as k8s
from ..cluster import Hopeless, Ref, Selection, State, TimedOut
from ..cluster import explain as explaining
from ..cluster.stream import Events, Seen
from ..notebook import Notebook
from ..plots import PodTimeline
from ..prefetch.outcomes import ExitCode
from ..tables import Table
from . import naive, naive_readings, weights, workloads
from .naive_faults import FAULTS, Faults

#: For something to happen to a pod; the weights have a deadline of their own.
_SECONDS = 600
_SERVER, _DOWNLOADER = "vllm-server", "model-downloader"
_POD, _ARGS, _ENV = (
    "spec.template.spec",
    "spec.template.spec.containers[0].args",
    "spec.template.spec.containers[0].env",
)
_CHECK = f"{_POD}.initContainers[0].args[0]"
_NO_DOWNLOADER: dict[str, Any] = {f"{_POD}.initContainers": None}
_PUBLIC_HUB = "https://huggingface.co"


@dataclass(frozen=True)
class Outcome:
    """What became of a new pod, in words, and whether that shows the fault that was expected."""

    words: str
    shown: bool


Look = Callable[[State], Outcome | None]


def _stage(*numbers: int) -> Callable[[Callable[[Walk], None]], Callable[[Walk], Table | None]]:
    """A stage returns these faults as a table; where the rehearsal isn't allowed it does nothing."""

    def decorate(run: Callable[[Walk], None]) -> Callable[[Walk], Table | None]:
        @functools.wraps(run)
        def stage(walk: Walk) -> Table | None:
            if not walk.allowed:
                return None
            run(walk)
            return walk.faults.table(numbers)

        return stage

    return decorate


class Walk:
    """One walk. Its stages, in this order: claim, read_only, init_container, flag, hub_id, serve, questions.

    Attributes:
        allowed: whether the platform allows it; where not, one line says so.
        faults: what was seen so far.
        timeline: the lives of the deployment's pods.
    """

    def __init__(self, book: Notebook, prometheus: naive_readings.Prometheus | None = None) -> None:
        self.allowed = naive.allowed(book)
        self.faults = Faults()
        self.timeline = PodTimeline("Pods of the usual guide's deployment", book.params.platform.time_scale)
        self._book, self._prometheus = book, prometheus
        self._namespace = naive.namespace(book)
        self._guides_claim = Ref("PersistentVolumeClaim", naive.CLAIM, self._namespace)

    @_stage(6)
    def claim(self) -> None:
        """Everything as the guide has it: the claim names a class that not every cluster has."""
        naive_readings.without_namespace(self._book, self.faults)
        self._start_over()
        naive.apply(self._book, [naive.namespace_object(self._book)])
        naive.apply(self._book, naive.guide(self._book))
        events = Selection("Event", self._namespace, fields=f"involvedObject.name={naive.CLAIM},type=Warning")
        self._observe(6, _pending, Selection.of(self._guides_claim), events, part="class")

    @_stage(6)
    def read_only(self) -> None:
        """The claim gets a class of this platform. It is still ReadOnlyMany, and so it can't be filled."""
        book, space = self._book, naive.room(self._book)
        live = book.cluster.find(self._guides_claim)
        if live is not None and k8s.get_in(live, "status.phase") != "Bound":  # a claim's class can't be changed
            self._remove(self._guides_claim)
            live = None
        if live is None:
            naive.apply(book, [naive.guides_claim(book, book.params.platform.storage.class_name)])
        naive.apply(book, [*weights.token(space), weights.prefetch_job(space.params, space.sizing, naive.CLAIM)])
        try:
            weights.wait_filled(space, weights.Follower(), naive.CLAIM)
            outcome = Outcome("it can be filled.", shown=False)
        except Hopeless as error:
            print(error.why)
            outcome = self._not_filled() or Outcome(error.why.splitlines()[0], shown=True)
        self.faults.note(6, f"With a class of this platform: {outcome.words}", part="mode", shown=outcome.shown)

    @_stage(4)
    def init_container(self) -> None:
        """The weights of our model are on a claim, complete and verified; the initContainer fails all the same."""
        naive.fill(self._book)
        self._deploy({})
        self._observe(4, lambda state: self._crash_loop(state, _DOWNLOADER))
        ours, script = self._book.params.model.hub_id, k8s.get_in(naive.deployment(self._book, {}), _CHECK)
        self._deploy({_CHECK: script.replace("/models/llama-3.1-70b/", f"/models/{ours}/")})
        words = f"Told to look where {ours} is complete and verified: "
        self._observe(4, lambda state: self._crash_loop(state, _DOWNLOADER), words=words, part="ours")

    @_stage(2)
    def flag(self) -> None:
        """Without the initContainer the server starts, and ends at a flag that it doesn't know."""
        self._deploy(_NO_DOWNLOADER)
        self._observe(2, lambda state: self._crash_loop(state, _SERVER))

    @_stage(5)
    def hub_id(self) -> None:
        """Without the flag it asks the hub, although weights are mounted; and the hub wants a token."""
        usual, endpoint = k8s.get_in(naive.deployment(self._book, {}), _ARGS), self._book.params.platform.hub.endpoint
        fields = {**_NO_DOWNLOADER, _ARGS: [word for word in usual if word != "--disable-log-requests"]}
        self._deploy(fields)
        self._observe(5, lambda state: self._crash_loop(state, _SERVER), words="It asks the public hub: ")
        if endpoint != _PUBLIC_HUB:
            self._deploy({**fields, _ENV: [{"name": "HF_ENDPOINT", "value": endpoint}]})
            words = "With this platform's hub: "
            self._observe(5, lambda state: self._crash_loop(state, _SERVER), words=words, part="hub")

    @_stage(3)
    def serve(self) -> None:
        """With the model from its local path and memory by the guide's own rule it serves."""
        naive.serve(self._book, self.timeline)
        self._remove(self._guides_claim)  # nothing mounts it any more
        naive_readings.slow_readiness(self._book, self.faults)

    @_stage(*FAULTS)
    def questions(self) -> None:
        """The faults that keep no pod from starting, asked of the cluster one by one; notes the check."""
        naive_readings.all_of_them(self._book, self.faults, self._prometheus)
        self.faults.note_checks(self._book)

    def all(self) -> Table | None:
        """Every stage, in order."""
        for stage in (self.claim, self.read_only, self.init_container, self.flag, self.hub_id, self.serve):
            stage()
        return self.questions()

    # -- what the stages share ----------------------------------------------------------------

    def _start_over(self) -> None:
        """A walk that stopped in the middle left the guide's claim with another class, and perhaps pods that use it."""
        live, usual = self._book.cluster.find(self._guides_claim), naive.guides_claim(self._book)
        if live is not None and live["spec"].get("storageClassName") != usual["spec"]["storageClassName"]:
            users = (Ref("Deployment", naive.DEPLOYMENT, self._namespace), Ref("Job", weights.JOB, self._namespace))
            self._remove(self._guides_claim, *users)  # a claim stays as long as there is a pod that names it

    def _remove(self, *refs: Ref) -> None:
        found = [(ref, item["metadata"]["uid"]) for ref in refs if (item := self._book.cluster.find(ref))]
        k8s.delete(self._book.cluster, found)

    def _deploy(self, fields: dict[str, Any]) -> None:
        """The guide's Deployment with the filled claim, where the scheduler has a node for it."""
        base = {**naive.schedulable(self._book), **naive.weights_mounted(self._book)}
        naive.apply(self._book, [naive.deployment(self._book, {**base, **fields})])

    def _observe(self, number: int, look: Look, *more: Selection, words: str = "", part: str = "") -> None:
        """Watch until it is clear what becomes of the new pod; note it."""
        target = Ref("Deployment", naive.DEPLOYMENT, self._namespace)
        kinds = [Selection(kind, self._namespace, labels=naive.PODS) for kind in ("ReplicaSet", "Pod")]
        seen: list[Outcome] = []

        def reached(state: State) -> bool:
            if any(k8s.is_true(pod, "Ready") for pod in workloads.new_pods(state)):
                seen.append(Outcome("nothing fails, the pod is ready.", shown=False))
            elif outcome := look(state):
                seen.append(outcome)
            return bool(seen)

        def record(event: Seen, _events: Events) -> None:
            if event.object["kind"] == "Pod":
                self.timeline.record(event.at, event.object, deleted=event.type == "DELETED")

        def explain(state: State) -> str:
            return explaining.why(self._book.cluster, workloads.new_pods(state), target)

        selections = [Selection.of(target), *kinds, *more]
        try:
            state = k8s.wait(
                self._book.cluster,
                f"{target} fails or is ready",
                selections,
                reached,
                seconds=_SECONDS,
                on_event=record,
                explain=explain,
            )
            print(explain(state))
        except TimedOut as error:
            seen.append(Outcome(str(error), shown=False))
        self.faults.note(number, words + seen[0].words, part=part, shown=seen[0].shown)

    def _crash_loop(self, state: State, container: str) -> Outcome | None:
        """Whether a container of a new pod fails again and again, and whether it is this one."""
        for pod in workloads.new_pods(state):
            for kind, prefix in (("initContainerStatuses", "Init:"), ("containerStatuses", "")):
                for status in pod.get("status", {}).get(kind, ()):
                    reason = k8s.get_in(status, "state.waiting.reason")
                    if reason == "CrashLoopBackOff":
                        code = k8s.get_in(status, "lastState.terminated.exitCode")
                        last = _telling(explaining.failed_log(self._book.cluster, pod)[1])
                        return Outcome(f"{prefix}{reason}, exit code {code}: {last}", status["name"] == container)
                    if reason in explaining.STUCK and reason != "ErrImagePull":
                        return Outcome(f"{prefix}{explaining.trouble(pod)}.", shown=False)
        return None

    def _not_filled(self) -> Outcome | None:
        """How the prefetch Job's pod ended, without the paths, which are long; None when it never ran."""
        labels = f"batch.kubernetes.io/job-name={weights.JOB}"
        for pod in self._book.cluster.list("Pod", self._namespace, labels=labels):
            if ended := k8s.get_in(pod, "status.containerStatuses[0].state.terminated"):
                code, said = ended["exitCode"], re.sub(r"(?:/[\w.-]+){2,}", "…", ended.get("message", "")).strip()
                return Outcome(f"the Job that fills it ends with exit code {code}, {said}", code == ExitCode.TARGET)
        return None


def _pending(state: State) -> Outcome | None:
    """Whether claim and pod wait for a class that isn't there."""
    claim = state.only("PersistentVolumeClaim")
    uid = k8s.get_in(claim, "metadata.uid")
    failed = [item for item in state.all("Event") if k8s.get_in(item, "involvedObject.uid") == uid]
    troubles = [trouble for pod in workloads.new_pods(state) if (trouble := explaining.trouble(pod))]
    if k8s.get_in(claim, "status.phase") != "Pending" or not failed or not troubles:
        return None
    return Outcome(
        f"The claim stays Pending, {failed[-1]['message']}; the pod is {troubles[0].rstrip('.')}.", shown=True
    )


def _telling(lines: list[str]) -> str:
    """The log line that says most: the last one about an error, else the last one."""
    about = [line for line in lines if "error" in line.lower()]
    line = (about or lines or ["the log is empty"])[-1].strip()
    return line if line.endswith(".") else f"{line}."
