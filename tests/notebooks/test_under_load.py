"""Notebooks 05 to 07 and 09 as a user runs them, with short loads; then what can go wrong while all of it runs."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from conftest import Cluster
from vllm_runbook import dashboards, notebook, rules
from vllm_runbook.cluster import Hopeless, Ref, Selection, TimedOut, condition, get_in, is_true, wait
from vllm_runbook.notebook import Notebook
from vllm_runbook.steps import (
    autoscaling,
    console,
    deploy,
    disruption,
    keda,
    load,
    monitoring,
    observability,
    rollout,
    trials,
)
from vllm_runbook.steps.eviction import evict
from vllm_runbook.steps.load import Load

from .conftest import ROOT, Done, run_notebooks, verdict_of

NAMES = ["05_observability", "06_autoscaling", "07_disruption", "09_diagnosis"]
#: Fewer requests than a server of ours admits: however slow the machine is, none is refused.
QUICK = ["-p", "seconds=20", "-p", "prompt_tokens=512", "-p", "crowd_pods=100"]
LIGHT = Load("", rate=10, seconds=8, prompt_tokens=64, output_tokens=16)


@pytest.fixture(scope="module")
def done(sandbox: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    """The story without spot nodes (test_spot.py), once."""
    runs = tmp_path_factory.mktemp("under-load")
    done = run_notebooks(runs, "00", "01", "02", "03", "04", "05", "06", "07", "09", *QUICK)
    assert done.code == 0, done.out + done.err
    yield done
    assert run_notebooks(runs, "10", "-p", "delete_weights=true").code == 0


@pytest.fixture
def figures(done: Done) -> dict[str, Any]:
    return dict(done.summary["figures"])


@pytest.fixture
def book(done: Done, monkeypatch: pytest.MonkeyPatch) -> Notebook:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    return notebook.begin("06_autoscaling", "sandbox", "qwen3-8b")


# -- the story ---------------------------------------------------------------------------------------


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


def test_our_deployment_can_be_applied_again_without_touching_the_replicas(sandbox: Cluster, book: Notebook) -> None:
    sandbox.kubectl("-n", "llm", "scale", "deployment/vllm-inference", "--replicas=2")
    assert not deploy.plan(book)
    autoscaling.start_from_one(book)


# -- rules and dashboards ------------------------------------------------------------------------------

#: What only spot nodes have (test_spot.py), or nothing has while all is well.
_ELSEWHERE = ("runbook:spot_nodes:info",)
#: Conditions that are absences: true only when something is gone.
_ABSENCES = ("KedaDown", "GpusUnallocated")


def with_data(book: Notebook, expression: str) -> bool:
    """Whether Prometheus has any series for it now, or had one in the module's time."""
    asked = observability.prometheus(book)
    return bool(asked.query(expression)) or bool(asked.query(f"last_over_time(({expression})[30m:5s])"))


def test_every_question_of_the_dashboards_has_data(book: Notebook) -> None:
    silent = [query for query in dashboards.queries() if not with_data(book, query.expression)]
    assert [query for query in silent if not any(name in query.expression for name in _ELSEWHERE)] == []


def test_every_rule_looks_at_something(book: Notebook) -> None:
    """Recording rules have results; alerts' conditions can be judged: as booleans, without dropping what is well."""
    for rule in rules.rules(rules.documents(book.params)):
        if rule.kind == "record":
            spot = rule.name in _ELSEWHERE or rule.body.get("labels") == {"capacity": "spot"}
            assert spot or with_data(book, rule.name), rule.name
            continue
        judged = re.sub(r"\s(==|>=|<=|>|<)\s+(?!bool )", r" \1 bool ", rule.expression)
        judged = re.sub(r"\nunless .*", "", judged, flags=re.DOTALL)
        assert rule.name in _ABSENCES or with_data(book, judged), f"{rule.name}: {judged}"


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
    assert max(point.waiting for point in situation.points) > 0
    burnt = monitoring.burn_rates(book, minutes=60)
    assert any(trace.name.startswith("llm: ttft") for trace in burnt.data)


# -- what can go wrong ---------------------------------------------------------------------------------


def hpa_says(book: Notebook, kind: str, status: str, reason: str = "") -> dict[str, Any]:
    """Wait until the HPA's condition is so; the condition."""
    ref = Ref("HorizontalPodAutoscaler", f"keda-hpa-{autoscaling.NAME}", book.namespace)

    def reached(state: Any) -> bool:
        found = condition(state.only(ref.kind), kind)
        return found.get("status") == status and reason in found.get("reason", "")

    state = wait(book.cluster, f"{ref} {kind} {status}", [Selection.of(ref)], reached, seconds=120)
    return condition(state.only(ref.kind), kind)


def replicas(book: Notebook) -> int:
    item = book.cluster.get(Ref("Deployment", deploy.DEPLOYMENT, book.namespace))
    return int(item["spec"]["replicas"])


def hold(book: Notebook, count: int) -> None:
    """So many replicas, under the autoscaler, which does not scale in for a while."""
    autoscaling.pause(book, count)
    autoscaling.resume(book)
    autoscaling.wait_ready(book)


def test_prometheus_down_under_load(sandbox: Cluster, book: Notebook) -> None:
    """Nothing is scaled on a guess, nothing is dropped, and it goes on when Prometheus is back."""
    hold(book, 2)
    trial = trials.of(book, "blind", load.ours(book), LIGHT)

    def act() -> None:
        sandbox.kubectl("-n", "monitoring", "scale", "deployment/prometheus-server", "--replicas=0")

    trials.experiment.run(book, trial, act=act, act_after=3)
    assert trial.report.total("dropped") == 0 and trial.report.total("complete") > 50
    ref = Ref("ScaledObject", autoscaling.NAME, book.namespace)
    wait(
        book.cluster,
        "KEDA falls back",
        [Selection.of(ref)],
        lambda state: is_true(state.only("ScaledObject"), "Fallback"),
        seconds=120,
    )
    assert replicas(book) == 2
    sandbox.kubectl("-n", "monitoring", "scale", "deployment/prometheus-server", "--replicas=1")
    observability.wait_available(book)
    observability.verify(book)
    wait(
        book.cluster,
        "KEDA asks Prometheus again",
        [Selection.of(ref)],
        lambda state: not is_true(state.only("ScaledObject"), "Fallback"),
        seconds=120,
    )


def test_keda_killed_and_back(sandbox: Cluster, book: Notebook) -> None:
    before = replicas(book)
    sandbox.kubectl("-n", "keda", "delete", "pod", "-l", "app=keda-operator", "--wait=false")
    trial = trials.of(book, "headless", load.ours(book), LIGHT)
    trials.experiment.run(book, trial)
    assert trial.report.total("dropped") == 0 and replicas(book) >= 1
    keda.install(book, keda.plan(book))
    hpa_says(book, "ScalingActive", "True")
    assert autoscaling.through_keda(book) >= 0 and before >= 1


def test_a_metric_that_is_gone_is_an_error_and_not_a_load_of_zero(
    sandbox: Cluster, book: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(book, 2)
    item = autoscaling.scaled_object(book.params)
    item["spec"]["triggers"][0]["metadata"]["query"] = 'sum(vllm:gpu_cache_usage_perc{namespace="llm"})'
    book.put(item)
    said = hpa_says(book, "ScalingActive", "False", "FailedGetExternalMetric")
    assert said["message"]
    assert replicas(book) == 2
    monkeypatch.setattr(autoscaling, "_READY_SECONDS", 2)
    with pytest.raises(TimedOut) as caught:
        autoscaling.wait_ready(book)
    assert "FailedGetExternalMetric" in str(caught.value)
    monkeypatch.undo()
    book.apply(autoscaling.plan(book))
    autoscaling.wait_ready(book)


def test_the_autoscaler_at_its_maximum_says_so_and_nothing_is_lost(sandbox: Cluster, book: Notebook) -> None:
    small = notebook.begin("06_autoscaling", "sandbox", "qwen3-8b", {"autoscaling.max_replicas": 1})
    small.apply(autoscaling.plan(small))
    autoscaling.start_from_one(small)
    trial = trials.of(small, "limited", load.ours(small), Load("", 30, 8, 512, 32))
    seen: list[dict[str, Any]] = []
    trials.experiment.run(
        small, trial, act=lambda: seen.append(hpa_says(small, "ScalingLimited", "True", "TooManyReplicas")), act_after=3
    )
    assert seen and trial.report.total("dropped") == 0
    book.apply(autoscaling.plan(book))
    autoscaling.start_from_one(book)


def test_no_gpu_for_the_surge(sandbox: Cluster, book: Notebook) -> None:
    """It is said before; and an update that is begun all the same hangs without harm, until it is taken back."""
    filler = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "filler", "namespace": "default"},
        "spec": {
            "replicas": 11,
            "selector": {"matchLabels": {"app": "filler"}},
            "template": {
                "metadata": {"labels": {"app": "filler"}},
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "tolerations": [{"operator": "Exists"}],
                    "containers": [
                        {
                            "name": "filler",
                            "image": "registry.k8s.io/pause:3.10",
                            "resources": {"limits": {"nvidia.com/gpu": "1"}},
                        }
                    ],
                },
            },
        },
    }
    autoscaling.pause(book, 1)
    sandbox.apply(filler)
    sandbox.kubectl("-n", "default", "rollout", "status", "deployment/filler", "--timeout=90s", timeout=100)
    asked = notebook.begin("07_disruption", "sandbox", "qwen3-8b")
    disruption.surge(asked)
    (check,) = (each for each in asked.result.checks if "surge" in each.name)
    assert not check.ok and "max_surge=0" in check.detail

    book.put(rollout.new_version(deploy.deployment(book.params, book.sizing), "--max-num-seqs=64"))
    pods = Selection("Pod", book.namespace, labels=deploy.PODS)
    state = wait(
        book.cluster,
        "the new pod is Pending",
        [pods],
        lambda state: any("Insufficient nvidia.com/gpu" in json.dumps(pod["status"]) for pod in state.all("Pod")),
        seconds=60,
    )
    assert sum(is_true(pod, "Ready") for pod in state.all("Pod")) == 1
    rollout.rollback(book)
    rollout.wait_done(book)
    sandbox.kubectl("-n", "default", "delete", "deployment/filler", "--wait=true")
    book.put(deploy.deployment(book.params, book.sizing))
    rollout.wait_done(book)


def test_a_budget_that_is_violated_already_does_not_hold_up_a_broken_pod(sandbox: Cluster, book: Notebook) -> None:
    autoscaling.pause(book, 2)
    book.put(rollout.bad_version(book, "never ready"))
    rollout.wait_stalled(book)
    budget = Ref("PodDisruptionBudget", disruption.PDB, book.namespace)

    def violated(state: Any) -> bool:
        return bool(get_in(state.only(budget.kind), "status.expectedPods", 0) >= 2)

    wait(book.cluster, "the budget counts", [Selection.of(budget)], violated, seconds=30)
    pods = list(book.cluster.list("Pod", book.namespace, labels=deploy.PODS))
    broken = [pod for pod in pods if not is_true(pod, "Ready")]
    assert evict(book.cluster, broken[0], dry_run=True) == ""
    rollout.rollback(book)
    rollout.wait_done(book)


def test_two_drains_at_once_lose_nothing(sandbox: Cluster, book: Notebook) -> None:
    autoscaling.pause(book, 4)
    trial = trials.of(book, "drains", load.ours(book), Load("", 20, 20, 256, 32))
    pods = book.cluster.list("Pod", book.namespace, labels=deploy.PODS)
    nodes = sorted({pod["spec"]["nodeName"] for pod in pods})[:2]
    assert len(nodes) == 2
    codes: list[str] = []

    def drain(node: str) -> None:
        arguments = ("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s")
        codes.append(sandbox.kubectl(*arguments, timeout=150))
        trial.wake()

    threads = [threading.Thread(target=drain, args=(node,), daemon=True) for node in nodes]
    try:
        trials._run(book, trial, lambda: [thread.start() for thread in threads] and None, lambda: len(codes) == 2)
    finally:
        sandbox.kubectl("uncordon", *nodes)
    assert all("drained" in words for words in codes)
    assert trial.report.total("dropped") == 0 and trial.report.total("complete") > 200


def test_a_load_generator_that_is_killed_is_no_result(sandbox: Cluster, book: Notebook) -> None:
    trial = trials.of(book, "killed", load.ours(book), LIGHT)

    def act() -> None:
        sandbox.kubectl("-n", "llm", "delete", "pod", "-l", "app.kubernetes.io/name=load", "--wait=false")

    with pytest.raises(Hopeless, match="the load generator failed"):
        trials.experiment.run(book, trial, act=act, act_after=2)
    assert sandbox.get("jobs", "", "-n", "llm", "-l", "app.kubernetes.io/name=load")["items"] == []


def test_where_load_is_not_allowed_nothing_is_started(book: Notebook) -> None:
    calm = notebook.begin("06_autoscaling", "sandbox", "qwen3-8b", {"rehearsal.load": False})
    with pytest.raises(Exception, match="is not to be put under load"):
        trials.experiment.run(calm, trials.of(calm, "x", load.ours(calm), LIGHT))


def test_the_panel_runs_a_load(book: Notebook, capsys: pytest.CaptureFixture[str]) -> None:
    """Pressed by a program: the counts come, and the button is there again."""
    rate, seconds, prompt, output, _, button, drawing, _ = console.panel(book, load.ours(book)).children
    rate.value, seconds.value, prompt.value, output.value = 5, 5, 32, 8
    button.click()
    assert not button.disabled
    (figure,) = drawing.children
    assert sum(next(trace.y for trace in figure.data if trace.name == "sent")) > 0
    assert "console" in capsys.readouterr().out
