"""How long a step takes on the simulated GPU: real milliseconds, whatever the sandbox's time scale.

A decode step reads all weights and the cached context once (memory-bound); a prefill computes two
operations per parameter and token (compute-bound); the longer of the two counts, plus the scheduler.
Figures of an A100 80 GB, with half of the peak reached.
"""

from __future__ import annotations

from dataclasses import dataclass

BYTES_PER_S = 2.0e12
OPERATIONS_PER_S = 312e12 * 0.5
OVERHEAD_S = 0.004
#: From a request's arrival to its place in the queue: chat template, tokenizer, the hop to the engine's process.
FRONTEND_S = 0.003
#: Unscaled seconds of start-up besides reading weights.
COMPILE_S = 30.0
LOAD_BYTES_PER_S = 2 * 2**30


@dataclass(frozen=True)
class StepTime:
    """Step times of one server.

    Attributes:
        weight_bytes, kv_bytes_per_token: on each GPU.
        parameters: of the whole model; gpus: that share them.
    """

    weight_bytes: int
    kv_bytes_per_token: int
    parameters: float
    gpus: int

    def seconds(self, tokens: int, context: int) -> float:
        """A step that computes ``tokens`` over ``context`` cached tokens."""
        memory = (self.weight_bytes + context * self.kv_bytes_per_token) / BYTES_PER_S
        compute = 2 * self.parameters * tokens / (OPERATIONS_PER_S * self.gpus)
        return OVERHEAD_S + max(memory, compute)
