"""What a server needs of its node besides GPUs: host memory, CPUs, shared memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..params import Model

#: API server and engine core: Python, PyTorch, tokenizer, CUDA's host side. Estimate: 1.5 to 2 GiB resident each.
BASE_GIB = 4.0
#: One worker process per GPU: CUDA context, pinned staging buffers, NCCL. Estimate.
WORKER_GIB = 2.5
#: Requests that wait: token ids and text, some 100 KB for 1,000 tokens. The queue is unbounded unless
#: ``--max-num-queued-reqs`` bounds it, so this is room for some 20,000, not a guarantee.
QUEUE_GIB = 2.0
SAFETY = 1.2


@dataclass(frozen=True)
class HostResources:
    """Requests of the container, equal to its limits (QoS Guaranteed).

    Attributes:
        shm_gib: size of the memory-backed /dev/shm; what is used of it counts against ``memory_gib``.
    """

    cpu: int
    memory_gib: int
    shm_gib: int


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


def memory_gib(model: Model) -> int:
    """Host memory in GiB: base + workers + /dev/shm + queue, x 1.2, rounded up to an even number.

    The weights are *not* in it. safetensors files are memory-mapped and copied to the GPU; their
    pages are page cache, which the kernel counts for the container but takes back before it kills
    anything (cgroup v2: ``file`` is reclaimable, ``anon`` isn't). A request of "140Gi for the weights"
    only keeps other pods off the node.
    """
    needed = BASE_GIB + WORKER_GIB * model.gpus + shm_gib(model) + QUEUE_GIB
    return 2 * math.ceil(needed * SAFETY / 2)


def host_resources(model: Model) -> HostResources:
    """CPU, memory and /dev/shm of one replica."""
    return HostResources(cpu(model), memory_gib(model), shm_gib(model))
