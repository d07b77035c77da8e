"""Notebooks 05 to 07 and 09 as a user runs them, with short loads."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conftest import Cluster
from vllm_runbook import advice, dashboards, notebook, rules
from vllm_runbook.notebook import Notebook
from vllm_runbook.steps import monitoring, observability

from .asked import has_data, judged, of_spot_nodes, recorded, silent
from .conftest import ROOT, Done, run_notebooks, undocumented, verdict_of

NAMES = ["05_observability", "06_autoscaling", "07_disruption", "09_diagnosis"]
#: Fewer requests than a server of ours admits: however slow the machine is, none is refused.
QUICK = ["-p", "seconds=20", "-p", "prompt_tokens=512", "-p", "crowd_pods=100"]


@pytest.fixture(scope="module")
def done(sandbox: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The story without spot nodes (test_spot.py), once."""
    runs = tmp_path_factory.mktemp("under-load")
    done = run_notebooks(runs, "00", "01", "02", "03", "04", "05", "06", "07", "09", *QUICK)
    assert done.code == 0, done.out + done.err
    return done


@pytest.fixture
def figures(done: Done) -> dict[str, Any]:
    return dict(done.summary["figures"])


def test_the_verdicts_are_the_stored_ones(done: Done) -> None:
    for name in NAMES:
        kept = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())["cells"]
        assert done.verdict(name) == verdict_of(kept), name


def test_the_guides_deployment_fails_and_ours_does_not(figures: dict[str, Any]) -> None:
    assert figures["outage.calm.dropped"] == 0 < figures["outage.calm.complete"]
    assert figures["outage.naive.oom_killed"] > 0 and figures["outage.naive.dropped"] > 0
    assert figures["outage.ours.oom_killed"] == figures["outage.ours.dropped"] == 0
    for group in ("outage.naive", "outage.ours", "rollout.naive", "rollout.ours", "drain.ours", "delete.ours"):
        counts = [figures[f"{group}.{name}"] for name in ("sent", "complete", "dropped", "rejected")]
        assert counts[0] == sum(counts[1:]) > 0, group


def test_ours_loses_nothing_to_updates_drains_and_deletions(figures: dict[str, Any]) -> None:
    for group in ("rollout", "drain", "delete"):
        assert figures[f"{group}.naive.dropped"] > 0, group
        assert figures[f"{group}.ours.dropped"] == 0, group
        assert figures[f"{group}.ours.oom_killed"] == 0, group


def test_the_scale_up_has_its_parts(figures: dict[str, Any]) -> None:
    parts = [figures[f"scale_up.{name}_s"] for name in ("scrape", "hpa", "schedule", "load")]
    assert sum(parts) == pytest.approx(figures["scale_up.total_s"], abs=0.3)
    assert figures["scale_to_zero.first_answer_s"] > 0


def test_the_lists_are_measured(figures: dict[str, Any]) -> None:
    for name in ("kubectl", "kubectl_selector", "typed", "metadata", "selector"):
        assert figures[f"list.pods_100.{name}_ms"] > 0
    assert figures["list.pods_100.metadata_bytes"] < figures["list.pods_100.json_bytes"]


def test_every_figure_is_documented(figures: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "figures.md").read_text()
    groups = {"outage", "rollout", "drain", "delete", "scale_up", "scale_to_zero", "list", "apply", "diagnosis"}
    notebooks = {name.partition("_")[2] for name in ("04_deploy_vllm", "03_storage_weights", "01_device_plugin")}
    for name in figures:
        group = name.partition(".")[0]
        assert group in groups or group in notebooks or group == "label_gpu_nodes", name
        if group in ("scale_up", "scale_to_zero"):
            assert f"`{name}`" in page, name
        if group in groups:
            assert f"`{group}." in page, name
    assert undocumented(figures) == []


def test_the_report_has_before_and_after_side_by_side(done: Done) -> None:
    report = (done.directory / "report.html").read_text()
    assert "Before and after" in report and "OOM-killed" in report
    assert report.count('<figure><div role="img"') >= 12


def test_nothing_of_the_rehearsals_is_left_running(sandbox: Cluster, done: Done) -> None:
    assert sandbox.get("jobs", "", "-n", "llm", "-l", "app.kubernetes.io/name=load")["items"] == []
    assert sandbox.get("pods", "", "-n", "llm-naive", "-l", "app=vllm-inference")["items"] == []
    assert not [item for item in sandbox.get("nodes")["items"] if item["spec"].get("unschedulable")]
    assert sandbox.get("nodes", "", "-l", "type=kwok")["items"] == []


@pytest.fixture
def book(done: Done, monkeypatch: pytest.MonkeyPatch) -> Notebook:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    return notebook.begin("06_autoscaling", "sandbox", "qwen3-8b")


# -- rules and dashboards ------------------------------------------------------------------------------


def test_every_question_of_the_dashboards_has_data(book: Notebook) -> None:
    queries = [query for query in dashboards.queries() if not of_spot_nodes(query.expression)]
    assert silent(observability.prometheus(book), queries) == []


def test_neither_a_constant_nor_what_is_no_number_is_data(book: Notebook) -> None:
    asked = observability.prometheus(book)
    assert has_data(asked, "count(up)") and has_data(asked, "count(up) or vector(0)")
    for expression in ("nobodys_metric", "nobodys_metric or vector(0)", "up * NaN", "count(up) / 0", "-count(up) / 0"):
        assert not has_data(asked, expression), expression


def test_every_rule_looks_at_something(book: Notebook) -> None:
    """Recording rules have results; alerts' conditions can be judged: as booleans, without dropping what is well."""
    asked = observability.prometheus(book)
    for rule in rules.rules(rules.documents(book.params)):
        expression = recorded(rule) if rule.kind == "record" else judged(rule.expression)
        if not of_spot_nodes(expression):
            assert has_data(asked, expression), f"{rule.name}: {expression}"


def test_what_was_recorded_is_what_happened(book: Notebook, figures: dict[str, Any]) -> None:
    """The servers' GPUs were busy, the killed server was seen, and its queue was longer than ours may get."""
    asked = observability.prometheus(book)
    (busiest,) = asked.query('max(max_over_time(DCGM_FI_DEV_GPU_UTIL{namespace="llm"}[30m]))')
    assert busiest.value > 20
    (taken,) = asked.query('max(max_over_time(DCGM_FI_DEV_FB_USED{namespace="llm"}[30m]))')
    assert taken.value == pytest.approx(0.92 * 80 * 1024, rel=0.01)
    (killed,) = asked.query('max(max_over_time(kube_pod_container_status_restarts_total{namespace="llm-naive"}[30m]))')
    assert killed.value >= 1 and figures["outage.naive.oom_killed"] >= 1
    situation = monitoring.situation(book, minutes=60)
    assert {point.name for point in situation.points} == {"llm", "llm-naive"}
    naive = next(point for point in situation.points if point.name == "llm-naive")
    limits = situation.limits
    assert advice.advise(naive, limits).what == advice.MORE_PODS
    assert naive.waiting > 10 * limits.waiting and naive.cache < limits.idle, "a queue, and room in the cache"
    burnt = monitoring.burn_rates(book, minutes=60)
    assert any(trace.name.startswith("llm: ttft") for trace in burnt.data)
