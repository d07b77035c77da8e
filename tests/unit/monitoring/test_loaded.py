"""Whether Prometheus has the rules: what it says is compared with the files, rule by rule."""

from __future__ import annotations

from typing import Any

import pytest

from vllm_runbook import params, rules
from vllm_runbook.prometheus import Prometheus
from vllm_runbook.steps import monitoring

LOADED = params.load("sandbox", "qwen3-8b")
DOCUMENTS = rules.documents(LOADED)


class Proxy:
    """Stands for the service proxy, and answers with rule groups."""

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        self._groups = groups

    def json(self, path: str, **query: Any) -> Any:
        assert (path, query) == ("api/v1/rules", {})
        return {"data": {"groups": self._groups}}


@pytest.fixture
def groups() -> list[dict[str, Any]]:
    """As Prometheus tells them when all is well."""
    return [
        {
            "name": group["name"],
            "rules": [{"name": rule.get("alert") or rule["record"], "health": "ok"} for rule in group["rules"]],
        }
        for document in DOCUMENTS.values()
        for group in document["groups"]
    ]


def unhealthy(groups: list[dict[str, Any]]) -> list[str]:
    asked = Prometheus(None, LOADED.platform)  # type: ignore[arg-type]
    asked._proxy = Proxy(groups)  # type: ignore[assignment]
    return monitoring.unhealthy(asked, DOCUMENTS)


def test_all_is_well_also_beside_rules_of_others(groups: list[dict[str, Any]]) -> None:
    assert unhealthy([*groups, {"name": "theirs", "rules": [{"name": "Theirs", "health": "err"}]}]) == []


def test_a_rule_that_fails_is_named_with_prometheus_words(groups: list[dict[str, Any]]) -> None:
    service = next(group for group in groups if group["name"] == "runbook-service")
    service["rules"][0] |= {"health": "err", "lastError": "found duplicate series"}
    service["rules"][1] |= {"health": "unknown"}
    assert unhealthy(groups) == [
        "runbook-service, VllmQueueGrowing: found duplicate series",
        "runbook-service, VllmKvCacheFull: not evaluated yet",
    ]


def test_one_of_two_records_with_the_same_name_is_missed(groups: list[dict[str, Any]]) -> None:
    """Budgets, say, differ by a label only."""
    thresholds = next(group for group in groups if group["name"] == "runbook-thresholds")
    thresholds["rules"].remove({"name": "runbook:slo:budget", "health": "ok"})
    assert unhealthy(groups) == ["runbook-thresholds, runbook:slo:budget: not loaded"]
    assert len(unhealthy([])) == len({(rule.group, rule.name) for rule in rules.rules(DOCUMENTS)})


def test_paces_are_those_of_the_rules() -> None:
    """The figure's lines are where alerts fire."""
    found = {rule.name: rule.expression for rule in rules.rules(DOCUMENTS) if rule.group == "runbook-slo"}
    assert set(found) == set(monitoring.PACES)
    for name, pace in monitoring.PACES.items():
        assert found[name].count(f"({pace:g} * runbook:slo:budget)") == 2
