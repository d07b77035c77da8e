"""What Prometheus has for the dashboards' questions and the rules' conditions: numbers, and none that it was given."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta

from vllm_runbook import rules
from vllm_runbook.dashboards import Query
from vllm_runbook.prometheus import Prometheus

#: What only spot nodes have: test_spot.py asks for it.
SPOT = ("runbook:spot_nodes:info", 'capacity="spot"')
#: Longer than the notebooks of one test module take.
WINDOW = timedelta(hours=1)


def of_spot_nodes(expression: str) -> bool:
    """Whether there is an answer only where spot nodes are."""
    return any(name in expression for name in SPOT)


def has_data(asked: Prometheus, expression: str) -> bool:
    """Whether it was a finite number at any moment of the last hour, without the constants it falls back to."""
    end = datetime.now(UTC)
    bare = re.sub(r"\s+or\s+vector\([^)]*\)", "", expression)
    found = asked.range(bare, end - WINDOW, end, 5)
    return any(math.isfinite(value) for series in found for _, value in series.points)


def silent(asked: Prometheus, queries: list[Query]) -> list[Query]:
    """Those without data."""
    return [query for query in queries if not has_data(asked, query.expression)]


def recorded(rule: rules.Rule) -> str:
    """The series that a recording rule makes, of several with its name its own."""
    labels = ", ".join(f'{name}="{value}"' for name, value in rule.body.get("labels", {}).items())
    return f"{rule.name}{{{labels}}}"


def judged(expression: str) -> str:
    """An alert's condition as a boolean, so that what is well isn't dropped."""
    judged = re.sub(r"\s(==|>=|<=|>|<)\s+(?!bool )", r" \1 bool ", expression)
    return re.sub(r"\nunless .*", "", judged, flags=re.DOTALL)
