"""The Grafana dashboards of ``manifests/monitoring/dashboards``, and what they ask Prometheus.

They are JSON as Grafana imports it, made by ``tools/dashboards.py``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from . import manifests

NAMES = ("vllm-service", "vllm-autoscaling", "gpus", "spot-and-cost")
#: What Grafana puts in for its own variables, and ours for "All"; an interval as Grafana chooses it for an hour.
_VARIABLES = {"$__rate_interval": "1m", "$namespace": ".+"}


@dataclass(frozen=True)
class Query:
    """One question of a panel; ``expression`` as Prometheus gets it."""

    dashboard: str
    panel: str
    expression: str


def text(name: str) -> str:
    """A dashboard's JSON as it is."""
    return manifests.find(f"monitoring/dashboards/{name}.json").read_text(encoding="utf-8")


def queries() -> list[Query]:
    """Every question of every panel of all dashboards."""
    found = []
    for name in NAMES:
        board: Mapping[str, Any] = json.loads(text(name))
        for panel in _panels(board):
            for target in panel.get("targets", ()):
                found.append(Query(board["title"], panel["title"], _filled(target["expr"])))
    return found


def _panels(board: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels", ())


def _filled(expression: str) -> str:
    for name, value in _VARIABLES.items():
        expression = expression.replace(name, value)
    return expression
