"""Notebook 11 with exactly its own rights: a good version is promoted, each bad one is caught where it should be."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from conftest import Cluster
from vllm_runbook import notebook
from vllm_runbook.steps import observability

from .conftest import ROOT, Done, run_notebooks, verdict_of

CALM = ("rehearsal.outage=false", "rehearsal.crowd=false", "metrics.scrape_interval_seconds=1")
QUICK = ("canary.steps=[5, 50, 100]", "canary.step_seconds=2", "canary.gates.min_requests=5", "canary.rehearse=false")
FAULTY = "sandbox.vllm-runbook.dev/vllm-openai-"
FIRST_STEP = 5


def overridden(*pairs: str) -> list[str]:
    return [word for pair in (*CALM, *QUICK, *pairs) for word in ("-p", pair)]


def options(*pairs: str) -> list[str]:
    return ["--model", "tiny", *overridden(*pairs)]


class Story:
    """A served model, and runs of notebook 11 by an account of its own."""

    def __init__(self, sandbox: Cluster, directory: Path) -> None:
        self.sandbox, self.directory = sandbox, directory
        done = run_notebooks(directory, "01", "02", "03", "04", "05", *options())
        assert done.code == 0, done.out + done.err
        roles = sandbox.runbook("roles", "11", *overridden(), "--service-account", "only-11")
        assert roles.returncode == 0, roles.stderr
        Cluster(sandbox.name, sandbox.kubeconfig, "").apply([item for item in yaml.safe_load_all(roles.stdout) if item])
        document = yaml.safe_load(sandbox.kubeconfig.read_text())
        token = sandbox.kubectl("-n", "llm", "create", "token", "only-11", "--duration=1h").strip()
        document["users"][0]["user"] = {"token": token}
        self.account = directory / "only-11.kubeconfig"
        self.account.write_text(yaml.safe_dump(document))

    def canary(self, seconds: int, *pairs: str) -> Done:
        mine = (f"kubernetes.kubeconfig={self.account}", f"seconds={seconds}")
        return run_notebooks(self.directory, "11", "--fresh", *options(*mine, *pairs))

    def backends(self) -> list[str]:
        rules = self.sandbox.get("httproute", "inference", "-n", "llm")["spec"]["rules"]
        return [each["name"] for rule in rules for each in rule["backendRefs"]]

    def image(self) -> str:
        pod = self.sandbox.get("deployment", "vllm-inference", "-n", "llm")["spec"]["template"]["spec"]
        return str(pod["containers"][0]["image"])

    def nothing_of_the_canary_is_left(self) -> bool:
        found = self.sandbox.get("deployments,services", "", "-n", "llm", "-l", "app.kubernetes.io/name=vllm-canary")
        return not found["items"] and self.backends() == ["inference"]


@pytest.fixture(scope="module")
def story(sandbox: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    directory = tmp_path_factory.mktemp("canary")
    story = Story(sandbox, directory)
    yield story
    assert run_notebooks(directory, "10", *options("delete_weights=true")).code == 0
    left = sandbox.kubectl("get", "crd", "-o", "name")
    assert "gateway.networking.k8s.io" not in left, "teardown takes the gateway's definitions, too"
    sandbox.kubectl("delete", "clusterrole,clusterrolebinding", "-l", "app.kubernetes.io/part-of=vllm-runbook")
    sandbox.kubectl("delete", "namespace", "gateway-system", "--ignore-not-found", "--timeout=60s")


def test_a_good_version_is_promoted_without_a_lost_request(story: Story) -> None:
    done = story.canary(35)
    assert done.code == 0, done.out + done.err
    kept = json.loads((ROOT / "notebooks" / "11_canary.ipynb").read_text())["cells"]
    without = [line for line in verdict_of(kept).splitlines() if "back at the version" not in line]
    assert done.verdict("11_canary").splitlines() == without, "as it is stored, but that the new version stays"
    figures = done.summary["figures"]
    assert figures["canary.sent"] == figures["canary.complete"] > 500
    assert figures["canary.dropped"] == figures["canary.affected"] == 0 and figures["canary.steps"] == 3
    assert story.image() == "vllm/vllm-openai:v0.32.1" and story.nothing_of_the_canary_is_left()


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
    (pod,) = story.sandbox.get("pods", "", "-n", "gateway-system")["items"]
    secret = story.sandbox.get("secret", "vllm-api-key", "-n", "llm")["data"]["key"]
    key = {"Authorization": f"Bearer {base64.b64decode(secret).decode()}"}
    url = f"http://127.{pod['status']['podIP'].partition('.')[2]}:8080"
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        assert client.get("/v1/models").status_code == 401
        assert client.get("/v1/models", headers=key).json()["data"][0]["id"] == "tiny"
        assert client.get("/metrics", headers=key).status_code == 404


@pytest.mark.parametrize(("fault", "words"), [("slow", "TTFT p95"), ("errors", "server errors")])
def test_a_bad_version_is_caught_at_the_first_step(story: Story, fault: str, words: str) -> None:
    before = story.image()
    done = story.canary(14, f"canary.image={FAULTY}{fault}:v1")
    assert done.code == 1, done.out
    figures: dict[str, Any] = done.summary["figures"]
    assert figures["canary.steps"] == 1
    assert 0 < figures["canary.affected"] <= math.ceil(figures["canary.sent"] * FIRST_STEP / 100)
    assert f"{FIRST_STEP} %: {words}" in done.err, "the gate that failed, with its numbers"
    (notebook,) = done.summary["notebooks"]
    failed = [check["name"] for check in notebook["result"]["checks"] if not check["ok"]]
    assert failed == ["the new version holds at every step, and is promoted"], "and nothing else"
    assert story.image() == before and story.nothing_of_the_canary_is_left()


def test_wrong_answers_are_caught_before_any_traffic(story: Story) -> None:
    done = story.canary(14, f"canary.image={FAULTY}wrong:v1")
    assert done.code == 1, done.out
    assert done.summary["figures"]["canary.steps"] == 0 and "canary.sent" not in done.summary["figures"]
    assert "golden prompts: says what it is: 'simulated answer' is missing" in done.err
    assert story.nothing_of_the_canary_is_left()
