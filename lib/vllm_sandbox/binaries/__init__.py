"""The programs that a sandbox needs, found, downloaded or built with the pinned version."""

from vllm_sandbox.binaries.ensure import cached, ensure, find
from vllm_sandbox.binaries.table import TOOLS, Tool

__all__ = ["TOOLS", "Tool", "cached", "ensure", "find"]
