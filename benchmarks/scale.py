"""What the library's calls, the plots and the doctor cost in a very large cluster.

``.venv/bin/python benchmarks/scale.py`` brings a sandbox up, lets KWOK play 5,000 nodes with 50,000 pods in three
steps, each ten times the one before, and writes its section of docs/benchmarks.md. What takes more than ten times the
calls, the requests or the memory that it took in the step before has grown worse than linearly, and the program ends
with 1. Clocks are shown and judge nothing: what shares the cores moves them more than a bound could tell.
Allow half an hour on two cores.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any

from kubernetes.client.rest import RESTClientObject

sys.path.insert(0, str(Path(__file__).parent))

from measuring import PAGE, cpu_seconds, id_of, kubectl, machine, runbook_peak_mib, sandbox, section, write_section

from vllm_runbook import doctor, notebook
from vllm_runbook.cluster import Object, Selection, wait
from vllm_runbook.cluster.client import METADATA, WHOLE
from vllm_runbook.cluster.client import PAGE as PAGE_OF_PODS
from vllm_runbook.cluster.ownership import OURS
from vllm_runbook.notebook import Notebook
from vllm_runbook.plots import PodTimeline, nodes_figure
from vllm_runbook.steps import crowd, disruption, gpu_nodes, overview, teardown

PODS_PER_NODE, TIMES = 10, 3
#: Pods of each step.
SIZES = (500, 5_000, 50_000)
#: Without KWOK nobody renews leases: its nodes must not be taken for lost meanwhile.
_GRACE_S = 3600
#: At rest the control plane and the nodes of the sandbox take this much of a CPU, and get there within this time.
_QUIET_CORES, _QUIET_S = 0.3, 300
_KWOK = f"app.kubernetes.io/name={crowd.CONTROLLER}"
STEP, HEADING = "05_observability", "## Scale"

HEAD = f"""{HEADING}

`python benchmarks/scale.py` measures this table anew (in half an hour). KWOK plays the pods and nodes; API server,
etcd, scheduler and controller manager are real and share the machine with what is measured. KWOK itself is away
while something is measured: the leases of 5,000 nodes would keep both CPUs busy. Each node has eight GPUs, every other
pod holds one, and one pod in a hundred crashes again and again. Each column has ten times the pods and nodes of the one
before. *Growth* is from the last but one to the last: 10 is linear, more is worse.

What is ours is counted: functions that are called (of Python and of C), requests, and memory. Those are the same on
every machine, and none grows faster than the cluster.

Seconds are medians of {TIMES}, and have the API server's in them: rows in brackets are the same pages, read and thrown
away. For ten times as many pages of the same size that takes more than ten times as long, and more than ten times our
CPU: a server with gigabytes of heap shares the cores and their caches.

"""


def measures(book: Notebook) -> Iterator[tuple[str, Callable[[], object]]]:
    """What is measured, in words, and how. Nothing of it changes the cluster."""
    everywhere = notebook.begin(STEP, "sandbox", "tiny", {"namespace": crowd.NAMESPACE})
    labelled = Selection("Pod", crowd.NAMESPACE, labels=crowd.SELECTOR)
    watched = Selection("Pod", crowd.NAMESPACE, labels=OURS, metadata_only=True)
    yield "(the API server alone: all pods, whole, thrown away)", lambda: _thrown_away(book, WHOLE)
    yield "all pods listed, whole, in pages", lambda: sum(1 for _ in book.cluster.list("Pod"))
    yield "(the API server alone: all pods, metadata only)", lambda: _thrown_away(book, METADATA.format("List"))
    yield "all pods listed, metadata only", lambda: crowd.count(book)
    yield "1 % of the pods listed, by label", lambda: list(book.cluster.list("Pod", labels=crowd.SELECTOR))
    yield "a wait on 1 % of the pods", lambda: _reached(book, labelled)
    yield "a wait on all pods, metadata only", lambda: _reached(book, watched)
    yield "free GPUs (04, 07): labelled nodes, all pods", lambda: disruption.surge(book)
    yield "GPU nodes (02): all nodes", lambda: gpu_nodes.nodes_table(book.cluster.list("Node"), "nvidia.com/gpu")
    yield "the overview of all steps (index, panel)", lambda: overview.look(book)
    yield "what teardown would find (10)", lambda: teardown.plan(book)
    yield "doctor, a namespace with a pod that waits for a GPU", lambda: _doctor(book)
    yield "doctor, the namespace with all the pods", lambda: _doctor(everywhere)
    pods = list(book.cluster.list("Pod", crowd.NAMESPACE))
    nodes = list(book.cluster.list("Node"))
    yield "plot: timeline of all pods", lambda: _timeline(pods)
    yield "plot: GPUs of all nodes", lambda: nodes_figure(nodes, pods).to_json()


def _thrown_away(book: Notebook, accept: str) -> None:
    """Pages of pods, read and not looked at but for where the next one begins."""
    path, query = book.cluster.path("Pod"), {"limit": PAGE_OF_PODS}
    while True:
        body = book.cluster.raw("GET", path, query=query, accept=accept).data
        found = re.search(rb'"continue":"([^"]+)"', body[:1000])
        if not found:
            return
        query |= {"continue": found[1].decode()}


def _reached(book: Notebook, selection: Selection) -> None:
    wait(book.cluster, "the pods are listed", [selection], lambda state: bool(state.by_kind["Pod"]), seconds=300)


def _doctor(book: Notebook) -> None:
    doctor.diagnose(doctor.examine(book.cluster, doctor.context_of(book.params)))


def _timeline(pods: list[Object]) -> None:
    timeline, now = PodTimeline(), datetime.now(UTC)
    for pod in pods:
        timeline.record(now, pod)
    timeline.figure().to_json()


def _pending(book: Notebook) -> None:
    """A pod of ours that waits for more GPUs than any node has: the doctor then looks at everybody's."""
    container = {"name": "c", "image": "busybox:1.36", "resources": {"limits": {"nvidia.com/gpu": "64"}}}
    metadata = {"name": "waits", "namespace": book.namespace}
    space: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": book.namespace}}
    book.cluster.apply(space)
    account = Selection("ServiceAccount", book.namespace)
    wait(book.cluster, "pods have an account", [account], lambda state: "ServiceAccount" in state.by_kind, seconds=60)
    book.cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}})


@dataclass(frozen=True)
class Cost:
    """What something takes.

    Attributes:
        seconds: by the clock.
        cpu: seconds of this process.
        calls: functions called, Python's and C's.
        requests: to the API server.
    """

    seconds: float
    cpu: float
    calls: int
    requests: int


def _cost(do: Callable[[], object], requests: itertools.count[int]) -> Cost:
    """Medians; calls are counted in one more run, as counting takes time."""
    taken = []
    for _ in range(TIMES):
        before = next(requests)
        began, cpu = time.monotonic(), time.process_time()
        do()
        taken.append((time.monotonic() - began, time.process_time() - cpu, next(requests) - before - 1))
    seconds, cpus, counts = zip(*taken, strict=True)
    return Cost(median(seconds), median(cpus), _calls(do), median(counts))


def _calls(do: Callable[[], object]) -> int:
    calls = itertools.count()

    def note(frame: FrameType, what: str, argument: object) -> None:
        if what in ("call", "c_call"):
            next(calls)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        do()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return next(calls)


def _counted() -> itertools.count[int]:
    """Counts every request of this process's clients from now on."""
    requests, plain = itertools.count(), RESTClientObject.request

    def request(self: RESTClientObject, *arguments: Any, **more: Any) -> Any:
        next(requests)
        return plain(self, *arguments, **more)

    RESTClientObject.request = request
    return requests


def main(sizes: tuple[int, ...]) -> int:
    found: dict[str, list[Cost]] = {}
    memory: list[float] = []
    requests = _counted()
    with tempfile.TemporaryDirectory(prefix="rb") as state:
        os.environ["XDG_STATE_HOME"] = state
        os.environ.pop("KUBECONFIG", None)
        with sandbox(node_grace_seconds=_GRACE_S) as kubeconfig:
            book = notebook.begin(STEP, "sandbox", "tiny")
            _pending(book)
            book.apply(crowd.plan(book))
            crowd.wait_ready(book)
            for pods in sizes:
                crowd.populate(book, pods, pods_per_node=PODS_PER_NODE, servers=True)
                with _still(kubeconfig):
                    for what, do in measures(book):
                        found.setdefault(what, []).append(_cost(do, requests))
                        print(f"{pods:>6,} pods  {found[what][-1]}  {what}", flush=True)
                    memory.append(runbook_peak_mib("doctor", "--model", "tiny", "--namespace", crowd.NAMESPACE))
                    print(f"{pods:>6,} pods  {memory[-1]:.0f} MiB  runbook doctor", flush=True)
    if sizes == SIZES:
        write_section(PAGE, HEADING, HEAD + _table(sizes, found, memory))
    counted = [each for costs in found.values() for each in (_calls_of(costs), _requests(costs))]
    return int(any(_growth(each) > sizes[-1] / sizes[-2] for each in [*counted, memory]))


@contextlib.contextmanager
def _still(kubeconfig: Path) -> Iterator[None]:
    """KWOK is away, and the control plane has done what it left."""
    deployment = f"deployment/{crowd.CONTROLLER}"

    def scale(replicas: int) -> None:
        kubectl(kubeconfig, "-n", crowd.NAMESPACE, "scale", deployment, f"--replicas={replicas}")

    scale(0)
    try:
        kubectl(kubeconfig, "-n", crowd.NAMESPACE, "wait", "--for=delete", "pod", "-l", _KWOK, "--timeout=120s")
        deadline = time.monotonic() + _QUIET_S
        while _cores(id_of(kubeconfig)) > _QUIET_CORES:
            assert time.monotonic() < deadline, "the control plane doesn't come to rest"
        yield
    finally:
        scale(1)


def _cores(sandbox_id: str, seconds: float = 3) -> float:
    """How much CPU a sandbox takes just now."""
    before = cpu_seconds(sandbox_id)
    threading.Event().wait(seconds)
    return sum(now - before.get(pid, now) for pid, now in cpu_seconds(sandbox_id).items()) / seconds


def _cpu(costs: list[Cost]) -> list[float]:
    return [cost.cpu for cost in costs]


def _calls_of(costs: list[Cost]) -> list[float]:
    return [cost.calls for cost in costs]


def _requests(costs: list[Cost]) -> list[float]:
    return [cost.requests for cost in costs]


def _growth(values: list[float]) -> float:
    """Of the last over the one before; what costs nothing doesn't grow."""
    return values[-1] / values[-2] if values[-2] else 0.0


def _table(sizes: tuple[int, ...], found: dict[str, list[Cost]], memory: list[float]) -> str:
    heads = [f"{pods:,} pods, {pods // PODS_PER_NODE:,} nodes" for pods in sizes]
    rows = [_row(what, costs) for what, costs in found.items()]
    peak = [*(f"{mib:.0f} MiB" for mib in memory), f"{_growth(memory):.1f}"]
    rows.append(["memory of `runbook doctor` there", *peak, *[""] * 6])
    columns = ["seconds", *heads, "growth", "our CPU", "growth", "calls", "growth", "requests", "growth"]
    return f"Measured on {datetime.now(UTC):%Y-%m-%d} with {machine()}.\n\n" + section(columns, rows)


def _row(what: str, costs: list[Cost]) -> list[str]:
    seconds, cpu = [cost.seconds for cost in costs], _cpu(costs)
    row = [
        what,
        *(f"{each:.3f}" for each in seconds),
        f"{_growth(seconds):.1f}",
        f"{cpu[-1]:.3f}",
        f"{_growth(cpu):.1f}",
    ]
    for counts in (_calls_of(costs), _requests(costs)):
        row += [f"{counts[-1]:,.0f}", f"{_growth(counts):.1f}"] if counts[-1] else ["", ""]
    return row


if __name__ == "__main__":
    sys.exit(main(tuple(int(word) for word in sys.argv[1:]) or SIZES))
