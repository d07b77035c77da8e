"""Versions that are wrong in a known way, for whoever rolls them out to find: images vllm-openai-FAULT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: Name and what such a version does.
FAULTS = {
    "slow": "takes seconds before it begins with a request",
    "errors": "answers requests with long prompts by status 500",
    "hang": "stands still from the first long prompt on, while /health says that all is well",
    "wrong": "answers something else than what was asked",
}
_SLOW_S = 3.0
#: Prompts with more tokens than this are long: those of a quick try are not.
_LONG = 48


@dataclass(frozen=True)
class Fault:
    """What is wrong with this server; nothing if ``name`` is empty."""

    name: str = ""

    @property
    def delay_s(self) -> float:
        """Seconds between a request's arrival and its place in the queue; they count as its time to first token."""
        return _SLOW_S if self.name == "slow" else 0.0

    @property
    def garbles(self) -> bool:
        """Whether the text of answers is not the right one; lengths and ends are."""
        return self.name == "wrong"

    def fails(self, prompt_tokens: int) -> bool:
        """Whether a request ends with an error."""
        return self.name == "errors" and prompt_tokens > _LONG

    def hangs(self, prompt_tokens: int) -> bool:
        """Whether a request is one that the engine never comes back from."""
        return self.name == "hang" and prompt_tokens > _LONG


def taken_off(argv: Sequence[str]) -> tuple[Fault, list[str]]:
    """A leading ``--fault=NAME``, which only the sandbox's images have, and the other arguments."""
    if argv and argv[0].startswith("--fault="):
        return Fault(argv[0].partition("=")[2]), list(argv[1:])
    return Fault(), list(argv)
