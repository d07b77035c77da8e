"""Notebook 08 from beginning to end: nodes come, go by each cloud's rules under load, and nothing is lost."""

from __future__ import annotations

import json
from typing import Any

import nbformat
import pytest

from conftest import Cluster
from vllm_runbook import dashboards, notebook, params, rules
from vllm_runbook.prometheus import Prometheus
from vllm_runbook.steps import observability

from .asked import has_data, judged, of_spot_nodes, recorded, silent
from .conftest import ROOT, Done, run_notebooks, verdict_of

#: With notice; the loss without any is there with clients that retry.
CLOUDS = ("aws", "gcp", "azure")
#: Ours only, and shorter: both designs side by side are in `make demo`.
LIGHT = ["-p", "rehearsal.outage=false", "-p", "rehearsal.crowd=false"]


@pytest.fixture(scope="module")
def done(sandbox: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The story up to 07 without any load, then 08."""
    runs = tmp_path_factory.mktemp("spot")
    before = run_notebooks(runs, "--to", "07", *LIGHT, "-p", "rehearsal.load=false")
    assert before.code == 0, before.out + before.err
    done = run_notebooks(runs, "08", *LIGHT, "-p", "seconds=15", "-p", f"clouds={' '.join(CLOUDS)}")
    assert done.code == 0, done.out + done.err
    return done


@pytest.fixture
def figures(done: Done) -> dict[str, Any]:
    return dict(done.summary["figures"])


def test_with_notice_nothing_is_lost(figures: dict[str, Any]) -> None:
    for cloud in CLOUDS:
        assert figures[f"spot.{cloud}.ours.sent"] > 200
        assert figures[f"spot.{cloud}.ours.dropped"] == 0
        assert 0 < figures[f"spot.{cloud}.ours.recovery_s"] < 120


def test_without_notice_retries_make_it_whole(done: Done) -> None:
    assert "  ok   with retries nothing was lost (unannounced" in done.verdict("08_spot")


def test_the_notebook_shows_who_ended_the_pods_and_the_nodes_on_the_same_axis(done: Done) -> None:
    book = nbformat.read(done.directory / "08_spot.ipynb", as_version=4)
    said = "\n".join(
        str(output.get("text") or output.get("data", {}).get("text/plain", ""))
        for cell in book.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )
    assert "EvictionByEvictionAPI  yes: an eviction" in said
    assert "TerminationByKubelet" in said and "no: the node shuts down" in said
    assert "draining from" in said and "shutting down from" in said and "joining from" in said
    assert "saved" in said and "USD" in said


def test_the_verdict_is_the_stored_one(done: Done) -> None:
    kept = json.loads((ROOT / "notebooks" / "08_spot.ipynb").read_text())["cells"]
    assert done.verdict("08_spot") == verdict_of(kept)


def test_idle_nodes_are_gone_and_the_floor_is_held(sandbox: Cluster, done: Done) -> None:
    assert sandbox.get("nodes", "", "-l", "karpenter.sh/nodepool")["items"] == []
    scaler = sandbox.get("scaledobject", "vllm-inference", "-n", "llm")
    assert scaler["metadata"]["annotations"]["autoscaling.keda.sh/paused-replicas"] == "1"
    assert sandbox.get("deployment", "vllm-inference-spot", "-n", "llm")["spec"]["replicas"] == 0


@pytest.fixture
def asked(done: Done, monkeypatch: pytest.MonkeyPatch) -> Prometheus:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    return observability.prometheus(notebook.begin("08_spot", "sandbox", "qwen3-8b"))


def test_what_only_spot_nodes_have_was_there(asked: Prometheus) -> None:
    """The questions and conditions that test_under_load.py leaves out."""
    queries = [query for query in dashboards.queries() if of_spot_nodes(query.expression)]
    assert queries and silent(asked, queries) == []
    loaded = rules.rules(rules.documents(params.load("sandbox", "qwen3-8b")))
    conditions = [recorded(rule) if rule.kind == "record" else judged(rule.expression) for rule in loaded]
    of_theirs = [each for each in conditions if of_spot_nodes(each)]
    assert of_theirs and [each for each in of_theirs if not has_data(asked, each)] == []


def test_prometheus_saw_the_spot_nodes_and_what_they_cost(asked: Prometheus) -> None:
    (there,) = asked.query("max_over_time(count(runbook:spot_nodes:info)[60m:5s])")
    assert there.value >= 1
    (gone,) = asked.query("count(count by (node) (last_over_time(runbook:spot_nodes:info[1h])))")
    assert gone.value >= len(CLOUDS), "each cloud took one"
    (gpus,) = asked.query('max_over_time(runbook:gpus:count{capacity="spot"}[60m])')
    (price,) = asked.query('max_over_time(runbook:gpu_cost:per_hour{capacity="spot"}[60m])')
    assert price.value == pytest.approx(gpus.value * 1.47)
