"""What a server needs of its node besides GPUs: host memory, CPUs, shared memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..params import Model, Params
from .gpu import scheduler_limits

#: API server and engine core: Python, PyTorch, tokenizer, CUDA's host side. Estimate: 1.5 to 2 GiB resident each.
BASE_GIB = 4.0
#: One worker process per GPU: CUDA context, pinned staging buffers, NCCL. Estimate.
WORKER_GIB = 2.5
#: Admission limit in full batches: one that runs, three that wait.
QUEUED_BATCHES = 4
SAFETY = 1.2


@dataclass(frozen=True)
class HostResources:
    """Requests of the container, equal to its limits (QoS Guaranteed).

    Attributes:
        max_num_queued_reqs: the admission limit that ``memory_gib`` is made for.
        shm_gib: size of the memory-backed /dev/shm; what is used of it counts against ``memory_gib``.
    """

    cpu: int
    memory_gib: int
    shm_gib: int
    max_num_queued_reqs: int


def cpu(model: Model) -> int:
    """CPUs (hyperthreads) per replica: two for each busy process.

    vLLM runs an API server, an engine core that never sleeps under load, and a worker per GPU; its
    documentation (Optimization, CPU resources) asks for at least 2 + N physical cores for N GPUs.
    """
    return 2 * (2 + model.gpus)


def shm_gib(model: Model) -> int:
    """/dev/shm in GiB: the GPUs' workers exchange messages and, without NVLink, tensors through it.

    One GPU needs none: 1 GiB keeps the manifest's shape, and costs nothing unused. A container's
    own 64 MiB are too small for NCCL.
    """
    return 1 if model.gpus == 1 else max(2, model.gpus)


def max_num_queued_reqs(params: Params) -> int:
    """Value for ``--max-num-queued-reqs``: requests, running and waiting, that the server takes in.

    Without it the queue grows until the kernel ends the container. With it the server refuses instead (503), and
    the memory that it needs is known.
    """
    return params.model.max_num_queued_reqs or QUEUED_BATCHES * scheduler_limits(params.model, params.platform)[0]


def memory_gib(params: Params) -> int:
    """Host memory in GiB: base + workers + /dev/shm + admitted requests, x 1.2, rounded up to an even number.

    The weights are *not* in it. safetensors files are memory-mapped and copied to the GPU; their
    pages are page cache, which the kernel counts for the container but takes back before it kills
    anything (cgroup v2: ``file`` is reclaimable, ``anon`` isn't). A request of "140Gi for the weights"
    only keeps other pods off the node.
    """
    model = params.model
    queue = max_num_queued_reqs(params) * params.platform.request_memory_mib / 1024
    needed = BASE_GIB + WORKER_GIB * model.gpus + shm_gib(model) + queue
    return 2 * math.ceil(needed * SAFETY / 2)


def host_resources(params: Params) -> HostResources:
    """CPU, memory, /dev/shm and admission limit of one replica."""
    model = params.model
    return HostResources(cpu(model), memory_gib(params), shm_gib(model), max_num_queued_reqs(params))
