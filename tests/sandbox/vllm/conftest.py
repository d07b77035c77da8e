"""The simulated server, for these tests."""

from simulated_vllm import models, start

__all__ = ["models", "start"]
