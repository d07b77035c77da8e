"""Errors for the reader: what failed, on which object, why, and what to do next."""

from __future__ import annotations


class RunbookError(Exception):
    """A step can't go on.

    Attributes:
        what: one sentence.
        why: what was observed (events, log lines, the server's words); may have several lines.
        next_step: what the reader can do.
    """

    def __init__(self, what: str, *, why: str = "", next_step: str = "") -> None:
        self.what, self.why, self.next_step = what, why, next_step
        parts = [what]
        if why:
            parts.append("Why:  " + why.replace("\n", "\n      "))
        if next_step:
            parts.append("Next: " + next_step.replace("\n", "\n      "))
        super().__init__("\n".join(parts))
