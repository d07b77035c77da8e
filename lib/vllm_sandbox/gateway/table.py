"""From routes to answers: which rule takes a request, and which of its backends."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from vllm_sandbox.gateway.matching import Asked, Match, hostname_fits
from vllm_sandbox.gateway.shares import Shares


@dataclass(frozen=True)
class Backend:
    """One backendRef. ``problem`` says why it can't be used: its share of the requests is then answered with 500."""

    service: str
    port: int = 0
    problem: str = ""


@dataclass(frozen=True)
class Rule:
    """One rule of a route. Times are in seconds; None for no limit.

    Attributes:
        route: ``namespace/name``.
        backends: each with its weight.
    """

    route: str
    backends: tuple[tuple[Backend, int], ...]
    request_timeout: float | None = None
    backend_timeout: float | None = None
    turns: Shares[Backend] = field(default_factory=lambda: Shares([]), compare=False)


@dataclass(frozen=True)
class Entry:
    """One match of one rule on one listener's port. ``age`` orders routes: creation time, then name, then rule."""

    port: int
    hostname: str
    match: Match
    rule: Rule
    age: tuple[str, str, int]

    @property
    def rank(self) -> tuple[object, ...]:
        """Smaller goes first: a whole hostname, then the longest with a wildcard, then none."""
        name = self.hostname
        return (not name, name.startswith("*"), -len(name), self.match.rank, self.age)


class Table:
    """All entries, in the order in which they are tried."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries = sorted(entries, key=lambda entry: entry.rank)

    def find(self, port: int, host: str, asked: Asked) -> Rule | None:
        """The rule for a request that came in on a listener's port."""
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        for entry in self._entries:
            if entry.port == port and hostname_fits(entry.hostname, name.lower()) and entry.match.holds(asked):
                return entry.rule
        return None
