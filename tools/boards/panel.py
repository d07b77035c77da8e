"""What a dashboard and a panel are made of."""

from __future__ import annotations

from dataclasses import dataclass

#: The namespaces with servers.
SPACES = 'namespace=~"$namespace"'


@dataclass(frozen=True)
class Panel:
    """A curve, or a number (``number``).

    Attributes:
        queries: legend to PromQL; a legend may name labels.
        unit: Grafana's id of it.
        limit: PromQL of the alert's threshold, drawn as one more curve.
    """

    title: str
    about: str
    unit: str
    queries: dict[str, str]
    limit: str = ""
    number: bool = False
    top: float | None = None


@dataclass(frozen=True)
class Board:
    """One dashboard: rows of panels by their titles."""

    name: str
    title: str
    about: str
    rows: dict[str, tuple[Panel, ...]]
