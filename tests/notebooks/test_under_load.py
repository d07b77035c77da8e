"""Notebooks 05 to 07 and 09 as a user runs them, with short loads."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conftest import Cluster

from .conftest import ROOT, Done, run_notebooks, verdict_of

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


def test_the_report_has_before_and_after_side_by_side(done: Done) -> None:
    report = (done.directory / "report.html").read_text()
    assert "Before and after" in report and "OOM-killed" in report
    assert report.count('<figure><div role="img"') >= 12


def test_nothing_of_the_rehearsals_is_left_running(sandbox: Cluster, done: Done) -> None:
    assert sandbox.get("jobs", "", "-n", "llm", "-l", "app.kubernetes.io/name=load")["items"] == []
    assert sandbox.get("pods", "", "-n", "llm-naive", "-l", "app=vllm-inference")["items"] == []
    assert not [item for item in sandbox.get("nodes")["items"] if item["spec"].get("unschedulable")]
    assert sandbox.get("nodes", "", "-l", "type=kwok")["items"] == []
