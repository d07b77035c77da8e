"""What the usual guide gets wrong: sixteen faults, and what was observed of each on this cluster."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..notebook import Notebook
from ..tables import Table


@dataclass(frozen=True)
class Fault:
    """One fault: what the guide has, why it is wrong, and what mends it."""

    guide: str
    why: str
    mend: str


FAULTS: dict[int, Fault] = {
    1: Fault(
        "Llama-3.1-70B in bf16 on one GPU, --tensor-parallel-size 1",
        "Two bytes for each of 70 billion parameters: no GPU of 80 GB holds them.",
        "Four such GPUs per replica (--tensor-parallel-size 4), fewer bits, or a smaller model (notebook 00).",
    ),
    2: Fault(
        "--disable-log-requests",
        "The flag is gone, and an unknown flag ends the server before it does anything.",
        "Leave it out: requests aren't logged by default.",
    ),
    3: Fault(
        "startupProbe 30 x 5 s; readinessProbe with initialDelaySeconds 30",
        "After 150 s the kubelet kills a server that still loads, and the next one likewise. Readiness is not probed "
        "before the startup probe has passed, so its delay only keeps a server that is up from traffic.",
        "A startup probe that outlasts the load (sizing), and no delay.",
    ),
    4: Fault(
        "An initContainer that looks for /models/llama-3.1-70b/model.safetensors",
        "Sharded models have an index and many files, and no such file. The server reads another path. And whatever "
        "isn't there, it downloads nothing and fails.",
        "A Job that fills the volume once and compares every file with the hub's sizes and checksums (notebook 03).",
    ),
    5: Fault(
        "--model meta-llama/Meta-Llama-3.1-70B-Instruct",
        "A hub id is looked up on the hub, however full the volume is: no start without network, licence and token.",
        "The local path of the weights, and HF_HUB_OFFLINE=1.",
    ),
    6: Fault(
        "A claim of class standard (gp3, premium-rwo), ReadOnlyMany",
        "What nobody may write stays empty. gp3 and premium-rwo are disks that one node mounts, and premium-rwo is "
        "GKE's, not Azure's.",
        "A shared file system that a Job writes, a filled disk that is cloned, or a copy on each node (notebook 03).",
    ),
    7: Fault(
        'avg(rate(vllm_pending_requests_total{job="vllm-inference"}[2m])), metricName, cooldownPeriod 300',
        "No vLLM has that metric. The queue is a gauge, and the rate of a gauge means nothing. An average over pods is "
        "divided by the pods once more. KEDA dropped metricName; cooldownPeriod only counts on the way to zero.",
        "sum(vllm:num_requests_waiting) or with those that run, proven to yield one series (notebook 06).",
    ),
    8: Fault(
        "A PodDisruptionBudget with minAvailable 1, and one replica",
        "There is never a pod to spare, so a drain of its node waits for ever. Deletion, rolling updates and spot "
        "reclaim never ask a budget.",
        "maxUnavailable 1 with unhealthyPodEvictionPolicy AlwaysAllow, and two replicas (notebook 07).",
    ),
    9: Fault(
        "maxSurge 1, maxUnavailable 0",
        "The new pod comes before the old one goes: every update needs a GPU that nobody uses. Without it the update "
        "hangs Pending.",
        "A spare GPU, or maxSurge 0 and maxUnavailable 1 with two replicas (notebook 07).",
    ),
    10: Fault(
        '"Zero dropped connections" without preStop, drain or grace period',
        "SIGTERM aborts what is in flight, while proxies still send. Streams end with status 200 and too few tokens.",
        "preStop, --shutdown-timeout, and a grace period that outlasts the longest answer (notebook 07).",
    ),
    11: Fault(
        "Tolerations for node.kubernetes.io/spot and node.kubernetes.io/preemptible",
        "No provider sets these taints; the one that GPU nodes often have (nvidia.com/gpu) isn't tolerated.",
        "The platform's own: parameters gpu.tolerations and spot.taints.",
    ),
    12: Fault(
        "kubectl get pods --server-side=true",
        "--server-side belongs to apply. Label selectors are always evaluated by the API server.",
        "kubectl get pods -l …; pages, metadata only and the watch cache make lists cheaper still.",
    ),
    13: Fault(
        "policy/v1beta1 is deprecated as of 1.30",
        "It was deprecated in 1.21 and removed in 1.25.",
        "policy/v1.",
    ),
    14: Fault(
        "latest images; no Namespace, Service, token Secret or /dev/shm; CPU limit 4, request 2",
        "Two pods of one Deployment may run two versions. Nothing reaches the server, and nothing gives it a token. "
        "64 MiB of /dev/shm are too few for tensor parallelism.",
        "Notebooks 03 and 04: pinned images, the missing objects, requests equal to limits.",
    ),
    15: Fault(
        "2 CPUs and memory 140Gi, for the weights",
        "Weights live on the GPU. Host memory holds processes and requests; mapped files are page cache, which the "
        "kernel takes back.",
        "Memory for the processes and for the admitted requests, with a limit on those (sizing).",
    ),
    16: Fault(
        "A lower priorityClassName for spot nodes",
        "Priority is the scheduler's: the lowest pods are evicted for any pod that finds no room. A spot reclaim "
        "doesn't ask for it. And notices differ between providers.",
        "The default class or a higher one; a grace period that fits the provider's notice.",
    ),
}


class Faults:
    """What was observed so far. A fault may be seen in several parts, each with its own words."""

    def __init__(self) -> None:
        self._seen: dict[int, dict[str, tuple[str, bool]]] = {}

    def note(self, number: int, words: str, *, part: str = "", shown: bool = True) -> None:
        """What was seen of a fault; the same part again replaces what was seen before.

        Args:
            shown: whether it shows the fault. Words that don't are for the reader all the same.
        """
        self._seen.setdefault(number, {})[part] = (words, shown)

    @property
    def missing(self) -> dict[int, str]:
        """Faults that nothing has shown, each with what was seen instead."""
        return {
            number: self._words(number) or "not looked at yet"
            for number in FAULTS
            if not any(shown for _, shown in self._seen.get(number, {}).values())
        }

    def table(self, numbers: Iterable[int] = FAULTS) -> Table:
        """The faults with these numbers, as far as they were looked at."""
        rows = [
            (number, FAULTS[number].guide, self._words(number), FAULTS[number].why, FAULTS[number].mend)
            for number in numbers
            if number in self._seen
        ]
        return Table(("", "the usual guide has", "what happened here", "why", "what mends it"), rows)

    def note_checks(self, book: Notebook) -> None:
        """Note for the verdict whether each fault was shown."""
        detail = "; ".join(f"{number}: {words}" for number, words in self.missing.items())
        book.check(f"each of the usual guide's {len(FAULTS)} faults was shown", not detail, detail)

    def _words(self, number: int) -> str:
        return " ".join(words for words, _ in self._seen.get(number, {}).values())
