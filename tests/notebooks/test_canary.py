"""Notebook 11 with exactly its own rights: a good version is promoted, each bad one is caught where it should be."""

from __future__ import annotations

import base64
import contextlib
import json
import math
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from accounts import Accounts
from conftest import Cluster
from vllm_runbook import notebook
from vllm_runbook.steps import observability

from .conftest import ROOT, Done, command, run_notebooks, verdict_of

CALM = ("rehearsal.outage=false", "rehearsal.crowd=false", "metrics.scrape_interval_seconds=1")
QUICK = ("canary.steps=[5, 50, 100]", "canary.step_seconds=2", "canary.gates.min_requests=5", "canary.rehearse=false")
FAULTY = "sandbox.vllm-runbook.dev/vllm-openai-"
FIRST_STEP = 5
#: Figures of any load.
COUNTS = ("sent", "complete", "dropped", "rejected", "oom_killed")
LATENCIES = [f"{name}_{part}_s" for name in ("ttft", "itl", "e2e") for part in ("p50", "p99")]


def overridden(*pairs: str) -> list[str]:
    return [word for pair in (*CALM, *QUICK, *pairs) for word in ("-p", pair)]


def options(*pairs: str) -> list[str]:
    return ["--model", "tiny", *overridden(*pairs)]


class Gateway:
    """What the gateway counts while something is done: requests that it has given to each version, again and again."""

    def __init__(self, address: str) -> None:
        self._address, self._over = address, threading.Event()
        self.counts: list[tuple[float, float]] = []

    def watch(self) -> None:
        with httpx.Client(base_url=self._address, trust_env=False, timeout=30) as client:
            while not self._over.wait(0.1):
                page = list(text_string_to_metric_families(client.get("/metrics").text))
                self.counts.append((_given(page, "llm/inference-canary"), _given(page, "llm/inference")))

    def end(self) -> None:
        self._over.set()

    def while_it_had_a_share(self) -> tuple[float, float]:
        """Requests that the new version was given, and all of them between its first and its last."""
        ours = [count for count, _ in self.counts]
        first = next(at for at, count in enumerate(ours) if count > ours[0]) - 1
        last = ours.index(ours[-1])
        given, others = (self.counts[last][number] - self.counts[first][number] for number in (0, 1))
        return given, given + others


def _given(page: list[Metric], backend: str) -> float:
    """Requests that have ended or are under way."""
    names = ("gateway_requests_total", "gateway_requests_in_flight")
    samples = [sample for family in page for sample in family.samples if sample.name in names]
    return sum(sample.value for sample in samples if sample.labels["backend"] == backend)


class Story:
    """A served model, and runs of notebook 11 by an account of its own."""

    def __init__(self, sandbox: Cluster, accounts: Accounts, directory: Path) -> None:
        self.sandbox, self.directory = sandbox, directory
        done = run_notebooks(directory, "01", "02", "03", "04", "05", *options())
        assert done.code == 0, done.out + done.err
        self.account = accounts.kubeconfig("11", name="only-11", options=overridden())

    def arguments(self, seconds: int, *pairs: str) -> list[str]:
        mine = (f"kubernetes.kubeconfig={self.account}", f"seconds={seconds}")
        return ["11", "--fresh", *options(*mine, *pairs)]

    def canary(self, seconds: int, *pairs: str) -> Done:
        return run_notebooks(self.directory, *self.arguments(seconds, *pairs))

    def interrupted_canary(self, seconds: int, *pairs: str, when: tuple[str, str]) -> tuple[int, str]:
        """Ctrl-C as soon as an object is in a state. Returns exit code and output."""
        env = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
        words = command(self.directory / "runs", *self.arguments(seconds, *pairs))
        process = subprocess.Popen(
            words, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            self.sandbox.kubectl("-n", "llm", "wait", when[0], f"--for={when[1]}", "--timeout=120s", timeout=130)
        finally:
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=90)
        return process.returncode, out

    def backends(self) -> list[str]:
        rules = self.sandbox.get("httproute", "inference", "-n", "llm")["spec"]["rules"]
        return [each["name"] for rule in rules for each in rule["backendRefs"]]

    def gateway(self, port: int) -> str:
        """Where the gateway's pod listens."""
        (pod,) = self.sandbox.get("pods", "", "-n", "gateway-system")["items"]
        return f"http://127.{pod['status']['podIP'].partition('.')[2]}:{port}"

    @contextlib.contextmanager
    def gateway_watched(self) -> Iterator[Gateway]:
        gateway = Gateway(self.gateway(9091))
        with ThreadPoolExecutor(1) as pool:
            watching = pool.submit(gateway.watch)
            try:
                yield gateway
            finally:
                gateway.end()
            watching.result()

    def image(self) -> str:
        pod = self.sandbox.get("deployment", "vllm-inference", "-n", "llm")["spec"]["template"]["spec"]
        return str(pod["containers"][0]["image"])

    def nothing_of_the_canary_is_left(self) -> bool:
        found = self.sandbox.get("deployments,services", "", "-n", "llm", "-l", "app.kubernetes.io/name=vllm-canary")
        return not found["items"] and self.backends() == ["inference"]


@pytest.fixture(scope="module")
def story(sandbox: Cluster, accounts: Accounts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    directory = tmp_path_factory.mktemp("canary")
    story = Story(sandbox, accounts, directory)
    yield story
    assert run_notebooks(directory, "10", *options("delete_weights=true")).code == 0
    left = sandbox.kubectl("get", "crd", "-o", "name")
    assert "gateway.networking.k8s.io" not in left, "teardown takes the gateway's definitions, too"
    sandbox.kubectl("delete", "clusterrole,clusterrolebinding", "-l", "app.kubernetes.io/part-of=vllm-runbook")
    sandbox.kubectl("delete", "namespace", "gateway-system", "--ignore-not-found", "--timeout=60s")


def test_a_rehearsal_that_is_interrupted_in_its_promotion_is_taken_back_by_the_next_run(story: Story) -> None:
    image = "jsonpath={.spec.template.spec.containers[0].image}"
    promoted = ("deployment/vllm-inference", f"{image}=vllm/vllm-openai:v0.33.0")
    code, out = story.interrupted_canary(30, "canary.steps=[100]", "canary.rehearse=true", when=promoted)
    assert code == 130, out
    assert story.image() == "vllm/vllm-openai:v0.33.0" and not story.nothing_of_the_canary_is_left()
    done = story.canary(30, "canary.image=null", "canary.rehearse=true")
    assert done.code == 0, done.out + done.err
    assert story.image() == "vllm/vllm-openai:v0.32.0" and story.nothing_of_the_canary_is_left()


def test_a_good_version_is_promoted_without_a_lost_request(story: Story) -> None:
    done = story.canary(35)
    assert done.code == 0, done.out + done.err
    kept = json.loads((ROOT / "notebooks" / "11_canary.ipynb").read_text())["cells"]
    without = [line for line in verdict_of(kept).splitlines() if "back at the version" not in line]
    assert done.verdict("11_canary").splitlines() == without, "as it is stored, but that the new version stays"
    figures = done.summary["figures"]
    page = (ROOT / "docs" / "figures.md").read_text()
    steps = {f"canary.step_{weight}.requests": "canary.step_PERCENT.requests" for weight in (5, 50, 100)}
    of_a_load = {f"canary.{name}": "canary.*" for name in (*COUNTS, *LATENCIES)}
    documented = {**steps, **of_a_load}
    for name in figures:
        if name.startswith("canary."):
            assert f"`{documented.get(name, name)}`" in page, name
    assert figures["canary.sent"] == figures["canary.complete"] > 500
    assert figures["canary.dropped"] == figures["canary.affected"] == 0 and figures["canary.steps"] == 3
    assert story.image() == "vllm/vllm-openai:v0.33.0" and story.nothing_of_the_canary_is_left()


def test_prometheus_has_the_gateways_counts_of_both_versions(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    asked = observability.prometheus(notebook.begin("05_observability", "sandbox", "tiny"))
    counted = 'gateway_requests_total{route="llm/inference", code="200"}'
    found = asked.query(f"sum by (backend) (max_over_time({counted}[30m]))")
    assert len(found) == 2 and "llm/inference" in {each.labels["backend"] for each in found}
    assert sum(each.value for each in found) > 500


def test_again_there_is_nothing_to_roll_out(story: Story) -> None:
    done = story.canary(35)
    assert done.code == 0, done.out + done.err
    assert done.summary["changed"] == 0 and "canary.sent" not in done.summary["figures"]


def test_the_key_is_asked_for_through_the_gateway_and_metrics_stay_inside(story: Story) -> None:
    secret = story.sandbox.get("secret", "vllm-api-key", "-n", "llm")["data"]["key"]
    key = {"Authorization": f"Bearer {base64.b64decode(secret).decode()}"}
    with httpx.Client(base_url=story.gateway(8080), trust_env=False, timeout=30) as client:
        assert client.get("/v1/models").status_code == 401
        assert client.get("/v1/models", headers=key).json()["data"][0]["id"] == "tiny"
        assert client.get("/metrics", headers=key).status_code == 404


@pytest.mark.parametrize(
    ("fault", "words"),
    [("slow", "TTFT p95"), ("errors", "server errors"), ("hang", "no token with requests under way for")],
)
def test_a_bad_version_is_caught_at_the_first_step(story: Story, fault: str, words: str) -> None:
    before = story.image()
    with story.gateway_watched() as seen:
        done = story.canary(14, f"canary.image={FAULTY}{fault}:v1", "canary.gates.stall_seconds=5")
    assert done.code == 1, done.out
    figures: dict[str, Any] = done.summary["figures"]
    assert figures["canary.steps"] == 1
    assert 0 < figures["canary.affected"] <= figures["canary.share"] < figures["canary.sent"] / 4
    given, all_of_them = seen.while_it_had_a_share()
    assert 0 < given <= math.ceil(all_of_them * FIRST_STEP / 100), "by the gateway's own count"
    assert f"{FIRST_STEP} %: {words}" in done.err, "the gate that failed, with its numbers"
    (notebook,) = done.summary["notebooks"]
    failed = [check["name"] for check in notebook["result"]["checks"] if not check["ok"]]
    assert failed == ["the new version holds at every step, and is promoted"], "and nothing else"
    assert story.image() == before and story.nothing_of_the_canary_is_left()


def test_a_version_that_refuses_what_it_can_not_queue_is_caught(story: Story) -> None:
    """Its refusals have status 200, as the load's requests are streams."""
    before = story.image()
    done = story.canary(20, "canary.image=null", "canary.args=--max-num-queued-reqs=1")
    assert done.code == 1, done.out
    assert "refused requests" in done.err and "server errors" not in done.err
    assert story.image() == before and story.nothing_of_the_canary_is_left()


def test_wrong_answers_are_caught_before_any_traffic(story: Story) -> None:
    done = story.canary(14, f"canary.image={FAULTY}wrong:v1")
    assert done.code == 1, done.out
    assert done.summary["figures"]["canary.steps"] == 0 and "canary.sent" not in done.summary["figures"]
    assert "golden prompts: says what it is: 'simulated answer' is missing" in done.err
    assert story.nothing_of_the_canary_is_left()
