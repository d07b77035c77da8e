"""The rule files of ``manifests/monitoring/rules``, with what a platform and a model promise put in.

The files are valid as they stand. What is set are fields: the value of a constant (``expr: vector(N)``), the label
``le`` of the promised bucket, the address before a ``runbook_url``. Constants whose value is null are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from . import manifests
from .errors import RunbookError
from .params import Params

#: In the order in which they are evaluated at first.
FILES = ("thresholds", "recording", "service", "slo", "autoscaling", "gpu", "disruption", "cost")
THRESHOLD = "runbook:threshold:"

Document = dict[str, Any]


@dataclass(frozen=True)
class Rule:
    """One rule of a file; ``alert`` or ``record`` is its name."""

    file: str
    group: str
    kind: str
    name: str
    body: Mapping[str, Any]

    @property
    def expression(self) -> str:
        """Its PromQL."""
        return str(self.body["expr"])


def documents(params: Params) -> dict[str, Document]:
    """Every rule file by its name, filled.

    Raises:
        RunbookError: a file has a constant that no parameter sets.
    """
    loaded = {name: _read(name) for name in FILES}
    values = constants(params)
    for group in loaded["thresholds"]["groups"]:
        filled = [_filled(rule, values) for rule in group["rules"]]
        group["rules"] = [rule for rule in filled if rule is not None]
    docs = params.platform.monitoring.docs.rstrip("/")
    for rule in _bodies(loaded):
        if docs and "alert" in rule:
            rule["annotations"]["runbook_url"] = f"{docs}/{rule['annotations']['runbook_url']}"
    return loaded


def constants(params: Params) -> dict[tuple[str, str], tuple[float | None, dict[str, str]]]:
    """Value and labels of every constant, by its record and the value of its one label that tells it apart."""
    slo, prices = params.model.slo, params.platform.spot.prices if params.platform.spot else None
    found: dict[tuple[str, str], tuple[float | None, dict[str, str]]] = {
        (f"{THRESHOLD}{name}", ""): (value, {})
        for name, value in params.platform.monitoring.thresholds.model_dump().items()
    }
    found["runbook:slo:ttft_bound", "le"] = (1, {"le": str(slo.ttft_seconds)})  # as Prometheus 3 writes it: 5.0
    found["runbook:slo:ttft_seconds", ""] = (slo.ttft_seconds, {})
    budgets = {"ttft": slo.ttft_objective, "availability": slo.availability_objective}
    for name, objective in budgets.items():
        found["runbook:slo:budget", name] = (round(1 - objective, 9), {"slo": name})
    for capacity in ("on_demand", "spot"):
        price = getattr(prices, f"{capacity}_per_gpu_hour") if prices else None
        found["runbook:price:gpu_hour", capacity] = (price, {"capacity": capacity})
    return found


def rules(documents: Mapping[str, Document]) -> Iterator[Rule]:
    """All rules of the files."""
    for file, document in documents.items():
        for group in document["groups"]:
            for body in group["rules"]:
                kind = "alert" if "alert" in body else "record"
                yield Rule(file, group["name"], kind, body[kind], body)


def text(document: Document) -> str:
    """A rule file as YAML."""
    return yaml.safe_dump(document, sort_keys=False, width=1000, allow_unicode=True)


def _read(name: str) -> Document:
    file = manifests.find(f"monitoring/rules/{name}.yaml")
    return dict(yaml.safe_load(file.read_text(encoding="utf-8")))


def _bodies(loaded: Mapping[str, Document]) -> Iterator[dict[str, Any]]:
    for document in loaded.values():
        for group in document["groups"]:
            yield from group["rules"]


def _filled(
    rule: dict[str, Any], values: Mapping[tuple[str, str], tuple[float | None, dict[str, str]]]
) -> dict[str, Any] | None:
    labels = rule.get("labels", {})
    key = rule["record"], "le" if "le" in labels else next(iter(labels.values()), "")
    if key not in values:
        raise RunbookError(
            f"No parameter sets {rule['record']}{labels or ''}",
            why="monitoring/rules/thresholds.yaml has it",
            next_step="Take it out of your copy, or compare that with this version's (runbook init --upgrade).",
        )
    value, labels = values[key]
    if value is None:
        return None
    return {"record": rule["record"], "expr": f"vector({value:.10g})", **({"labels": labels} if labels else {})}
