"""Sizes and deadlines that follow from the weights: the volume, its filling, a server's start and its end.

Times are real ones. Where a platform divides long durations (``time_scale``) the limits derived here stay
as they are: a limit may be generous, and readers see the manifests that they would use.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..params import Model, Params
from .gpu import GIB, file_bytes

MIB = 2**20
UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}

#: vLLM's own limit for its engine to become ready (VLLM_ENGINE_READY_TIMEOUT_S), by default.
ENGINE_READY_DEFAULT = 600
#: Estimates: start of the processes and imports; compilation and graph capture, which grow with the layers
#: (published logs: 36 layers 40-60 s, 80 layers 60-90 s).
PROCESS_START = 30.0
COMPILE_BASE, COMPILE_PER_LAYER = 20.0, 0.5
START_SAFETY = 2.0
PROBE_PERIOD = 5
#: The engine's own limit fires first, with an error that says what was slow; the probe catches the rest.
PROBE_MARGIN = 60
#: Room beside the weights: tokenizer, configuration, the file system's own.
CLAIM_HEADROOM = 1.2
PREFETCH_SAFETY = 3.0
PREFETCH_MARGIN = 600
#: Until every proxy has seen that the endpoint is gone. KServe waits as long.
PRESTOP = 15
GRACE_MARGIN = 10


@dataclass(frozen=True)
class Startup:
    """A server's start.

    Attributes:
        load_seconds: estimate from the first process to readiness.
        engine_ready_timeout_seconds: value for VLLM_ENGINE_READY_TIMEOUT_S.
        period_seconds: of the startupProbe.
        failure_threshold: of the startupProbe; period x threshold exceeds the engine's timeout.
    """

    load_seconds: float
    engine_ready_timeout_seconds: int
    period_seconds: int
    failure_threshold: int


@dataclass(frozen=True)
class Storage:
    """The weights at rest.

    Attributes:
        files_bytes: of the weight files on the hub.
        claim: size of the claim as a quantity.
        prefetch_deadline_seconds: after which the filling Job is given up.
    """

    files_bytes: int
    claim: str
    claim_bytes: int
    prefetch_deadline_seconds: int


@dataclass(frozen=True)
class Shutdown:
    """A server's end: preStop wait, then vLLM's drain, then a margin.

    Attributes:
        prestop_seconds: no new requests arrive after this.
        shutdown_timeout_seconds: value for ``--shutdown-timeout``.
        grace_period_seconds: terminationGracePeriodSeconds.
    """

    prestop_seconds: int
    shutdown_timeout_seconds: int
    grace_period_seconds: int


def startup(params: Params) -> Startup:
    """Load time = process start + files / read throughput + compilation; the limits are twice that.

    The files are read once per node, however many GPUs take their parts from the page cache.
    """
    model, storage = params.model, params.platform.storage
    compile_seconds = COMPILE_BASE + COMPILE_PER_LAYER * model.architecture.layers
    load = PROCESS_START + file_bytes(model) / (storage.read_mib_per_second * MIB) + compile_seconds
    timeout = max(ENGINE_READY_DEFAULT, 60 * math.ceil(load * START_SAFETY / 60))
    return Startup(load, timeout, PROBE_PERIOD, math.ceil((timeout + PROBE_MARGIN) / PROBE_PERIOD))


def storage(params: Params) -> Storage:
    """Claim = files x 1.2 + 1 GiB, at least the platform's minimum; deadline = 3 x download + 10 min.

    The prefetch takes safetensors, tokenizer and configuration; some repositories hold the weights a
    second time in another format (``original/``), which nobody serves.
    """
    model, platform = params.model, params.platform
    files = file_bytes(model)
    gib = max(platform.storage.min_size_gib, math.ceil(files / GIB * CLAIM_HEADROOM) + 1)
    claim = platform.storage.size or f"{gib}Gi"
    download = files / (platform.hub.download_mib_per_second * MIB)
    deadline = 60 * math.ceil((download * PREFETCH_SAFETY + PREFETCH_MARGIN) / 60)
    return Storage(files, claim, quantity_bytes(claim), deadline)


def shutdown(model: Model) -> Shutdown:
    """Drain = the longest answer at the slowest pace; grace period = preStop + drain + 10 s."""
    answer = math.ceil(min(model.longest_output_tokens, model.max_model_len) / model.slowest_tokens_per_second)
    return Shutdown(PRESTOP, answer, PRESTOP + answer + GRACE_MARGIN)


def quantity_bytes(quantity: str) -> int:
    """Bytes of a validated binary quantity: ``200Gi``."""
    return int(quantity[:-2]) * UNITS[quantity[-2:]]
