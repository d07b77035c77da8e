"""The rule files: promtool accepts them, each alert is tried, has its paragraph, and its numbers from params."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from vllm_runbook import params, rules
from vllm_runbook.params import ParamsError
from vllm_runbook.params.monitoring import TTFT_BOUNDS

from .promql import ROOT, metrics, promtool, unknown

FOLDER = ROOT / "manifests" / "monitoring" / "rules"
CASES = sorted((ROOT / "tests" / "rules").glob("*.yaml"))
PLATFORMS = sorted(file.stem for file in (ROOT / "params" / "platforms").glob("*.yaml"))


def loaded(platform: str = "sandbox", **overrides: Any) -> dict[str, Any]:
    return rules.documents(params.load(platform, "qwen3-8b", overrides))


def alerts() -> list[rules.Rule]:
    return [rule for rule in rules.rules(loaded()) if rule.kind == "alert"]


@pytest.mark.parametrize("platform", PLATFORMS)
def test_promtool_accepts_them_as_they_are_and_filled(platform: str, tmp_path: Path) -> None:
    for name, document in loaded(platform).items():
        (tmp_path / f"{name}.yaml").write_text(rules.text(document), encoding="utf-8")
    assert {file.name for file in FOLDER.glob("*.yaml")} == {file.name for file in tmp_path.iterdir()}
    promtool("check", "rules", "--lint=all", "--lint-fatal", *FOLDER.glob("*.yaml"))
    promtool("check", "rules", "--lint=all", "--lint-fatal", *tmp_path.iterdir())


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree as promtool's tests want it, rules without their words for people (whose wording may change)."""
    root = tmp_path_factory.mktemp("rules")
    target = root / "manifests" / "monitoring" / "rules"
    target.mkdir(parents=True)
    for file in FOLDER.glob("*.yaml"):
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        for group in document["groups"]:
            for rule in group["rules"]:
                rule.pop("annotations", None)
        (target / file.name).write_text(yaml.safe_dump(document), encoding="utf-8")
    shutil.copytree(ROOT / "tests" / "rules", root / "tests" / "rules")
    return root


@pytest.mark.parametrize("case", CASES, ids=lambda file: file.stem)
def test_when_alerts_fire(bare: Path, case: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", bare / "tests" / "rules" / case.name)


def test_every_alert_is_seen_firing_and_not_firing() -> None:
    fires, quiet = set(), set()
    for case in CASES:
        for test in yaml.safe_load(case.read_text(encoding="utf-8"))["tests"]:
            for each in test.get("alert_rule_test", ()):
                (fires if each["exp_alerts"] else quiet).add(each["alertname"])
    assert fires == quiet == {rule.name for rule in alerts()}


def test_each_alert_tells_what_is_wrong_and_leads_to_its_paragraph() -> None:
    page = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")
    anchors = [title.lower().replace(" ", "-") for title in re.findall(r"^#+ (\w+)$", page, re.MULTILINE)]
    for rule in alerts():
        notes = rule.body["annotations"]
        assert set(notes) == {"summary", "description", "runbook_url"}, rule.name
        assert rule.body["labels"]["severity"] in ("critical", "warning", "info"), rule.name
        path, _, anchor = notes["runbook_url"].partition("#")
        assert path == "docs/alerts.md" and anchors.count(anchor) == 1, rule.name
        assert "$" not in re.sub(r"\{\{[^}]*\}\}", "", notes["summary"] + notes["description"]), rule.name
    assert len(anchors) == len(set(anchors)), "a paragraph twice"
    known = {rule.name.lower() for rule in alerts()}
    sections = set(re.findall(r"^### (\w+)$", page, re.MULTILINE))
    assert {title.lower() for title in sections} == known, "no paragraph without its alert"


def test_metrics_are_those_that_exist() -> None:
    recorded = {rule.name for rule in rules.rules(loaded()) if rule.kind == "record"}
    for rule in rules.rules(loaded()):
        assert not unknown(rule.expression, recorded), rule.name


def test_constants_are_the_parameters() -> None:
    found = {rule.name: rule.expression for rule in rules.rules(loaded()) if rule.file == "thresholds"}
    assert found["runbook:threshold:kv_cache_usage"] == "vector(0.9)"
    changed = loaded(
        **{"monitoring.thresholds.kv_cache_usage": 0.8, "slo.ttft_seconds": 5.0, "slo.ttft_objective": 0.9}
    )
    changed_rules = [rule.body for rule in rules.rules(changed) if rule.file == "thresholds"]
    assert {"record": "runbook:threshold:kv_cache_usage", "expr": "vector(0.8)"} in changed_rules
    assert {"record": "runbook:slo:ttft_bound", "expr": "vector(1)", "labels": {"le": "5.0"}} in changed_rules
    assert {"record": "runbook:slo:budget", "expr": "vector(0.1)", "labels": {"slo": "ttft"}} in changed_rules
    assert "runbook:threshold:gpu_hours_per_day" not in {rule.name for rule in rules.rules(loaded("eks"))}
    assert "runbook:price:gpu_hour" not in {rule.name for rule in rules.rules(loaded("eks"))}


def test_every_constant_that_is_compared_with_can_be_set() -> None:
    known = {name for name, _ in rules.constants(params.load("sandbox", "qwen3-8b"))}
    for rule in rules.rules(loaded()):
        used = {name for name in metrics(rule.expression) if name.startswith(("runbook:threshold:", "runbook:slo:"))}
        assert used <= known, rule.name


def test_an_objective_is_a_bucket_of_the_histogram() -> None:
    recording = (ROOT / "lib/vllm_sandbox/vllm/metrics.txt").read_text(encoding="utf-8")
    recorded = re.findall(r'^vllm:time_to_first_token_seconds_bucket\{.*le="([\d.]+)"', recording, re.MULTILINE)
    assert tuple(map(float, recorded)) == TTFT_BOUNDS
    with pytest.raises(ParamsError, match="must be a bound of vLLM's histogram"):
        params.load("sandbox", "qwen3-8b", {"slo.ttft_seconds": 3.0})


def test_the_address_of_the_pages_can_be_set() -> None:
    (rule, *_) = (
        rule
        for rule in rules.rules(loaded(**{"monitoring.docs": "https://wiki.example/runbook/"}))
        if rule.kind == "alert"
    )
    assert rule.body["annotations"]["runbook_url"].startswith("https://wiki.example/runbook/docs/alerts.md#")
