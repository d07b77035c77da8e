"""Sizing: how much GPU, host memory, storage and time one replica of a model needs.

>>> from vllm_runbook import params, sizing
>>> sizing.size(params.load("sandbox", "qwen3-8b")).fits
True
"""

from .core import Sizing, size
from .fit import Reason
from .gpu import GpuBudget, KvCache
from .host import HostResources
from .remedies import Remedy
from .timing import Shutdown, Startup, Storage

__all__ = [
    "GpuBudget",
    "HostResources",
    "KvCache",
    "Reason",
    "Remedy",
    "Shutdown",
    "Sizing",
    "Startup",
    "Storage",
    "size",
]
