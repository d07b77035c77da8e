"""How a prefetch can end."""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """Exit codes of the prefetch, stable so that a Job's podFailurePolicy can tell them apart.

    Trying again helps after NETWORK, LOCKED and INTERRUPTED; the others need someone to change something.
    """

    OK = 0
    """The target holds the whole revision, verified."""
    BAD_ARGUMENTS = 2
    """An option or environment variable is missing or makes no sense."""
    AUTH = 10
    """The hub wants a token, or refuses the one it got."""
    GATED = 11
    """The token is valid, but its owner wasn't granted access to the model."""
    NOT_FOUND = 12
    """No such model, revision or file."""
    NO_SPACE = 13
    """The volume is too small, or full."""
    CHECKSUM = 14
    """What was downloaded isn't what the hub lists, or a shard that the index names is missing."""
    NETWORK = 15
    """The hub couldn't be reached, timed out, or answered 429 or 5xx too often."""
    LOCKED = 16
    """Another process is filling the same target."""
    TARGET = 17
    """The target can't be written: permissions, read-only file system, input/output errors."""
    INTERRUPTED = 143
    """Stopped by SIGTERM (128 + 15); what was downloaded is kept."""


class PrefetchError(Exception):
    """A prefetch that failed, in one sentence for the reader: what, why, what to do.

    Attributes:
        code: the process's exit code.
        message: the sentence.
    """

    def __init__(self, code: ExitCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Interrupted(PrefetchError):
    """The work was told to stop."""

    def __init__(self) -> None:
        super().__init__(
            ExitCode.INTERRUPTED,
            "Prefetch was stopped by a signal before it was complete; run it again and it resumes where it stopped.",
        )


class Transient(Exception):
    """A failure that may pass by itself.

    Attributes:
        retry_after: seconds that the hub asked to wait, if it did.
        progressed: whether bytes arrived before it failed, so that it doesn't count as one more in a row.
    """

    def __init__(self, reason: str, retry_after: float | None = None, *, progressed: bool = False) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        self.progressed = progressed
