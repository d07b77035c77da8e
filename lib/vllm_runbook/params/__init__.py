"""Parameters of a platform and a model: files, overrides, validation.

>>> from vllm_runbook import params
>>> loaded = params.load("sandbox", "qwen3-8b", {"max_model_len": "8192"})
>>> loaded.model.max_model_len
8192
"""

from .errors import ParamsError, Problem
from .load import Params, load, names
from .model import Model
from .overrides import from_pairs
from .platform import Platform

__all__ = ["Model", "Params", "ParamsError", "Platform", "Problem", "from_pairs", "load", "names"]
