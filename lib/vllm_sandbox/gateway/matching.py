"""Which rule of which route a request belongs to: matches, and which of several goes first.

Precedence as HTTPRouteRule has it: an exact path, the longest prefix, a method, most headers, most query parameters;
then the oldest route, then the first by name, then the first rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


class Unsupported(Exception):
    """A field of a route asks for something that this gateway doesn't do."""


@dataclass(frozen=True)
class Asked:
    """What of a request is matched. Names of headers are in lower case."""

    path: str
    method: str
    headers: Mapping[str, str]
    query: Mapping[str, str]


@dataclass(frozen=True)
class Match:
    """One entry of a rule's ``matches``; all of its parts must hold."""

    path: str = "/"
    exact: bool = False
    method: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    query: tuple[tuple[str, str], ...] = ()

    def holds(self, asked: Asked) -> bool:
        """Whether the request is one of these. A prefix ends at a slash: ``/v1`` isn't one of ``/v10``."""
        prefix = self.path.rstrip("/")
        path_fits = asked.path == self.path if self.exact else f"{asked.path}/".startswith(f"{prefix}/")
        return (
            path_fits
            and self.method in ("", asked.method)
            and all(asked.headers.get(name) == value for name, value in self.headers)
            and all(asked.query.get(name) == value for name, value in self.query)
        )

    @property
    def rank(self) -> tuple[int, ...]:
        """Smaller goes first."""
        length = len(self.path.rstrip("/"))
        return (not self.exact, -length, not self.method, -len(self.headers), -len(self.query))


def matches_of(rule: Object) -> Iterator[Match]:
    """The matches of a rule; one that takes everything where it has none.

    Raises:
        Unsupported: a kind of match that this gateway doesn't do.
    """
    for each in rule.get("matches") or [{}]:
        path = each.get("path") or {}
        yield Match(
            path=path.get("value", "/"),
            exact=_kind(path, "PathPrefix", "PathPrefix", "Exact") == "Exact",
            method=each.get("method", ""),
            headers=tuple((name.lower(), value) for name, value in _pairs(each.get("headers"))),
            query=tuple(_pairs(each.get("queryParams"))),
        )


def _pairs(wanted: list[Object] | None) -> Iterator[tuple[str, str]]:
    seen = set()
    for each in wanted or ():
        _kind(each, "Exact", "Exact")
        if each["name"].lower() not in seen:  # only the first entry of a name counts
            seen.add(each["name"].lower())
            yield each["name"], each["value"]


def _kind(match: Object, default: str, *known: str) -> str:
    kind = str(match.get("type", default))
    if kind not in known:
        raise Unsupported(f"a match of type {kind}")
    return kind


def seconds(duration: str | None) -> float | None:
    """A duration of the Gateway API (GEP-2257) in seconds; None for none and for zero, which is no limit.

    >>> seconds("1m30s"), seconds("500ms"), seconds("0s")
    (90.0, 0.5, None)
    """
    total = sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)(ms|h|m|s)", duration or ""))
    return total or None


def hostname_fits(wanted: str, host: str) -> bool:
    """Whether a host is one of a listener's or route's hostname: equal, or below a wildcard.

    >>> hostname_fits("*.example.com", "a.b.example.com"), hostname_fits("*.example.com", "example.com")
    (True, False)
    """
    if not wanted or wanted == host:
        return True
    return wanted.startswith("*.") and host.endswith(wanted[1:])


def hostnames_meet(listener: str, route: str) -> str | None:
    """The narrower of two hostnames, if one covers the other."""
    if hostname_fits(listener, route):
        return route
    return listener if hostname_fits(route, listener) else None
