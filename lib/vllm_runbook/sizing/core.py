"""From validated parameters to everything that a deployment needs to know about sizes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..params import Params
from . import report
from .fit import Reason, reasons
from .gpu import GpuBudget, KvCache, gpu_budget, kv_cache, scheduler_limits
from .host import HostResources, host_resources
from .remedies import Remedy, remedies
from .timing import Shutdown, Startup, Storage, shutdown, startup, storage


@dataclass(frozen=True)
class Sizing:
    """The sizes of one replica. All of it follows from ``params``; nothing is measured.

    Attributes:
        gpu: memory of each GPU, by use.
        kv: what the KV cache holds.
        max_num_seqs: requests that run at once at most, given or vLLM's default.
        reasons: why a server would not start; empty if it would.
        remedies: verified changes that make it fit; empty if it does.
        notes: what fits, but deserves a thought.
    """

    params: Params
    gpu: GpuBudget
    kv: KvCache
    max_num_seqs: int
    max_num_batched_tokens: int
    host: HostResources
    storage: Storage
    startup: Startup
    shutdown: Shutdown
    reasons: tuple[Reason, ...]
    remedies: tuple[Remedy, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether a server would start and serve one request of ``max_model_len``."""
        return not self.reasons

    @property
    def concurrency(self) -> int:
        """Requests of the expected length that run at once: bounded by the KV cache and by ``max_num_seqs``."""
        return min(self.max_num_seqs, int(self.kv.at_expected_len)) if self.fits else 0

    def table(self) -> list[tuple[str, str, str]]:
        """Rows of name, value and where the value comes from."""
        return report.table(self)

    def explain(self) -> str:
        """The verdict in plain text: why it fits or not, and what to do."""
        return report.explain(self)


def size(params: Params) -> Sizing:
    """Size one replica of ``params.model`` on ``params.platform``."""
    result = _assess(params)
    if result.fits:
        return replace(result, notes=tuple(_notes(result)))
    return replace(result, remedies=remedies(params, _check))


def _assess(params: Params) -> Sizing:
    budget = gpu_budget(params)
    cache = kv_cache(params, budget)
    seqs, tokens = scheduler_limits(params.model, params.platform)
    at_rest = storage(params)
    return Sizing(
        params=params,
        gpu=budget,
        kv=cache,
        max_num_seqs=seqs,
        max_num_batched_tokens=tokens,
        host=host_resources(params),
        storage=at_rest,
        startup=startup(params),
        shutdown=shutdown(params.model),
        reasons=reasons(params, budget, cache, at_rest),
    )


def _check(params: Params) -> tuple[bool, int]:
    assessed = _assess(params)
    return assessed.fits, assessed.kv.tokens


def _notes(result: Sizing) -> list[str]:
    found: list[str] = []
    params, grace = result.params, result.shutdown.grace_period_seconds
    spot = params.platform.spot
    if spot is not None and grace > spot.pod_seconds:
        found.append(
            f"On spot nodes a pod gets {spot.pod_seconds} s of the {grace} s that the longest answer needs: "
            "the rest of such answers is lost there."
        )
    if result.kv.at_expected_len < result.max_num_seqs:
        found.append(
            f"The KV cache holds {int(result.kv.at_expected_len)} requests of the expected length, fewer than "
            f"max_num_seqs {result.max_num_seqs}: beyond that, requests wait or are preempted."
        )
    if result.gpu.usable > result.gpu.total * 0.95:
        found.append("gpu_memory_utilization above 0.95 leaves next to nothing for the CUDA context.")
    return found
