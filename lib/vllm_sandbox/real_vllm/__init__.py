"""The real vLLM on this machine's CPU, in place of the simulated one: ``runbook sandbox up --engine vllm``.

It lives in a virtual environment of its own in the user's cache, and is only there when it was asked for
(docs/real-vllm.md).
"""

from vllm_sandbox.real_vllm.install import VERSION, ensure, find, require

__all__ = ["VERSION", "ensure", "find", "require"]
