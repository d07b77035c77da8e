"""The dashboards: as the builder makes them, asking what there is in words that Prometheus accepts; and as files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from runbook_cli.main import main
from vllm_runbook import dashboards, params, rules

from .promql import ROOT, promtool, unknown

FOLDER = ROOT / "manifests" / "monitoring" / "dashboards"


def test_what_is_checked_in_is_what_the_builder_makes() -> None:
    command = [sys.executable, str(ROOT / "tools" / "dashboards.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"python tools/dashboards.py writes them anew: {done.stdout}{done.stderr}"
    assert {file.stem for file in FOLDER.glob("*.json")} == set(dashboards.NAMES)


@pytest.mark.parametrize("name", dashboards.NAMES)
def test_every_panel_can_be_read(name: str) -> None:
    """By somebody who doesn't know it: a title, a description, a unit; and no two panels lie on each other."""
    board = json.loads(dashboards.text(name))
    assert board["uid"] == f"runbook-{name}" and board["schemaVersion"] > 30 and "id" not in board
    assert {each["name"] for each in board["templating"]["list"]} <= {"datasource", "namespace"}
    places = set()
    for panel in board["panels"]:
        assert panel["title"], name
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not places & cells and place["x"] + place["w"] <= 24, panel["title"]
        places |= cells
        if panel["type"] != "row":
            assert len(panel["description"].split()) >= 3, panel["title"]
            assert panel["fieldConfig"]["defaults"]["unit"] and panel["targets"], panel["title"]
            assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
            letters = [target["refId"] for target in panel["targets"]]
            assert len(letters) == len(set(letters)), panel["title"]


def test_every_question_parses_and_asks_for_metrics_that_exist(tmp_path: Path) -> None:
    asked = dashboards.queries()
    assert {query.dashboard for query in asked} == {
        json.loads(dashboards.text(name))["title"] for name in dashboards.NAMES
    }
    loaded = rules.documents(params.load("sandbox", "qwen3-8b"))
    recorded = {rule.name for rule in rules.rules(loaded) if rule.kind == "record"}
    for query in asked:
        assert not unknown(query.expression, recorded), query
        assert "$" not in query.expression, query
    # promtool parses expressions in rules only
    listed = [{"record": f"q{number}", "expr": query.expression} for number, query in enumerate(asked)]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": listed}]}), encoding="utf-8")
    assert f"SUCCESS: {len(asked)} rules found" in promtool("check", "rules", file)


def test_the_command_writes_them_with_the_rules_and_again_changes_nothing(tmp_path: Path) -> None:
    command = ["monitoring", str(tmp_path), "--platform", "gke", "-p", "monitoring.thresholds.kv_cache_usage=0.7"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    made = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.*")}
    assert made == {f"rules/{name}.yaml" for name in rules.FILES} | {f"dashboards/{n}.json" for n in dashboards.NAMES}
    assert "vector(0.7)" in (tmp_path / "rules" / "thresholds.yaml").read_text()
    promtool("check", "rules", *(tmp_path / "rules").glob("*.yaml"))
    again = CliRunner().invoke(main, command)
    assert again.output.count("unchanged") == len(made) and "wrote" not in again.output
    wrong = CliRunner().invoke(main, ["monitoring", str(tmp_path), "-p", "slo.ttft_second=1"])
    assert wrong.exit_code == 2 and "slo.ttft_seconds" in wrong.output
