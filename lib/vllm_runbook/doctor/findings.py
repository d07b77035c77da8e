"""What a rule found: on which object, why it is so, what was seen, and what mends it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["error", "warning", "info"]
#: From the worst; the first is what an exit code is made of.
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
Kind = Literal["object", "event", "log", "metric"]


@dataclass(frozen=True)
class Evidence:
    """One thing that was seen.

    Attributes:
        kind: where: a field of an ``object``, an ``event``, a line of a ``log``, a ``metric``.
        object: of what, as ``Kind namespace/name``.
        line: the words, unchanged but for their length.
    """

    kind: Kind
    object: str
    line: str


@dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    Attributes:
        code: stable name of the kind of trouble; a key of :data:`.codes.CODES`.
        severity: ``error``: something doesn't work; ``warning``: it will not when it matters; ``info``: to know.
        object: what is in trouble, as ``Kind namespace/name``; of many alike pods, the workload that they belong to.
        cause: one or two sentences.
        evidence: what was seen, the most telling first.
        fix: commands, or changes of parameters, the first choice first.
        keys: everything that the finding is about (uids of pods, ``Kind/name``); two findings with a key in common
            are about the same thing, and the root hides its consequences.
        count: objects in the same trouble.
        consequences: what this explains and was therefore not told by itself, as ``code: object``.
    """

    code: str
    severity: Severity
    object: str
    cause: str
    evidence: tuple[Evidence, ...] = ()
    fix: tuple[str, ...] = ()
    keys: frozenset[str] = field(default=frozenset(), repr=False)
    count: int = 1
    consequences: tuple[str, ...] = ()
