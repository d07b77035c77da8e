"""Errors of the sandbox, written for the person who reads them."""

from __future__ import annotations

import click


class SandboxError(click.ClickException):
    """Something the user can understand and mend; the command line shows it without a traceback.

    Attributes:
        why: the cause, possibly several lines (such as the last lines of a log).
        next_step: what to do now.
    """

    def __init__(self, what: str, *, why: str = "", next_step: str = "") -> None:
        self.why = why
        self.next_step = next_step
        lines = [what]
        if why:
            lines += [f"  {line}" for line in why.splitlines()]
        if next_step:
            lines.append(f"  Next: {next_step}")
        super().__init__("\n".join(lines))
