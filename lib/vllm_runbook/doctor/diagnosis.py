"""From a snapshot to what a person should be told: the roots, the worst first, each once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from operator import itemgetter

from .codes import CODES
from .context import Context
from .findings import SEVERITIES, Evidence, Finding, Severity
from .rules import RULES
from .snapshot import Snapshot

_EXAMPLES = 6
#: As monitoring plugins have it.
EXIT_CODES = {"error": 2, "warning": 1, "info": 0}
UNKNOWN = 3


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes:
        findings: the worst first.
        gaps: what could not be examined, and why.
        at: the API server's time.
    """

    context: Context
    at: datetime
    findings: tuple[Finding, ...]
    gaps: tuple[tuple[str, str], ...] = ()

    @property
    def severity(self) -> Severity | None:
        """The worst; None when nothing was found."""
        return min((each.severity for each in self.findings), key=SEVERITIES.index, default=None)

    @property
    def exit_code(self) -> int:
        """0 healthy, or worth knowing only; 1 warnings; 2 errors."""
        return EXIT_CODES[self.severity] if self.severity else 0


def diagnose(snap: Snapshot) -> Diagnosis:
    """Every rule's findings; many alike are one, and consequences are told with their root."""
    found = _merged(finding for rule in RULES for finding in rule(snap))
    findings = sorted(_roots(found), key=lambda each: SEVERITIES.index(each.severity))  # stable: the rules' order
    return Diagnosis(snap.context, snap.now, tuple(findings), tuple(snap.gaps))


def _merged(found: Iterable[Finding]) -> list[Finding]:
    """One finding of each code for each object; of its evidence a few examples, the distinct ones."""
    groups: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in found:
        groups[finding.code, finding.object].append(finding)
    return [_one(group) if len(group) > 1 else group[0] for group in groups.values()]


def _one(group: list[Finding]) -> Finding:
    worst = min(group, key=lambda each: SEVERITIES.index(each.severity))
    evidence: dict[Evidence, None] = dict.fromkeys(worst.evidence)
    for each in group:
        if len(evidence) >= _EXAMPLES:
            break
        evidence.update(dict.fromkeys(each.evidence))
    return replace(
        worst,
        evidence=tuple(evidence)[:_EXAMPLES],
        keys=frozenset().union(*(each.keys for each in group)),
        count=sum(each.count for each in group),
    )


def _roots(found: list[Finding]) -> list[Finding]:
    """What isn't the consequence of something else; each root names what it explains."""
    reasons = _Reasons(found)
    roots = [each for each in found if reasons.of(each) is None]
    reasons, explained = _Reasons(roots), defaultdict[int, list[str]](list)
    for finding in found:
        if (root := reasons.of(finding)) is not None:
            explained[id(root)].append(f"{finding.code}: {finding.object}")
    return [replace(root, consequences=tuple(explained[id(root)])) for root in roots]


class _Reasons:
    """Findings by what they are about. Whether one explains another depends on their codes and severities, so that
    of many alike about one thing the first is enough: a lost zone has thousands."""

    def __init__(self, found: Iterable[Finding]) -> None:
        self._about: dict[str, dict[tuple[str, Severity], tuple[int, Finding]]] = defaultdict(dict)
        for position, finding in enumerate(found):
            for key in finding.keys:
                self._about[key].setdefault((finding.code, finding.severity), (position, finding))

    def of(self, finding: Finding) -> Finding | None:
        """The first finding that explains this one."""
        near = (each for key in finding.keys if key in self._about for each in self._about[key].values())
        _, first = min((each for each in near if _explains(each[1], finding)), default=(0, None), key=itemgetter(0))
        return first


def _explains(root: Finding, finding: Finding) -> bool:
    """Whether the one is the reason of the other, given that they are about the same thing. Never of its own kind."""
    if finding.code in CODES[root.code].hides:
        return True
    # what is only worth a warning is no reason for something that doesn't work
    as_bad = SEVERITIES.index(root.severity) <= SEVERITIES.index(finding.severity)
    return CODES[finding.code].symptom and not CODES[root.code].symptom and as_bad
