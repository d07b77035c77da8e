"""What can go wrong while load is on the servers and all that the notebooks leave is in place."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from conftest import Cluster
from vllm_runbook import notebook
from vllm_runbook.cluster import Hopeless, Ref, Selection, TimedOut, condition, get_in, is_true, wait
from vllm_runbook.notebook import Notebook
from vllm_runbook.steps import autoscaling, console, deploy, disruption, keda, load, observability, rollout, trials
from vllm_runbook.steps.eviction import evict
from vllm_runbook.steps.load import Load

from .conftest import run_notebooks

CALM = ["-p", "rehearsal.load=false", "-p", "rehearsal.outage=false", "-p", "rehearsal.crowd=false"]
LIGHT = Load("", rate=10, seconds=8, prompt_tokens=64, output_tokens=16)


@pytest.fixture(scope="module")
def done(sandbox: Cluster, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What notebooks 00 to 07 leave, without any load before."""
    done = run_notebooks(tmp_path_factory.mktemp("calm"), "--to", "07", *CALM)
    assert done.code == 0, done.out + done.err


@pytest.fixture
def book(done: None, monkeypatch: pytest.MonkeyPatch) -> Notebook:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    return notebook.begin("06_autoscaling", "sandbox", "qwen3-8b")


def test_our_deployment_can_be_applied_again_without_touching_the_replicas(sandbox: Cluster, book: Notebook) -> None:
    sandbox.kubectl("-n", "llm", "scale", "deployment/vllm-inference", "--replicas=2")
    assert not deploy.plan(book)
    autoscaling.start_from_one(book)


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
