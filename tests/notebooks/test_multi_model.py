"""Notebook 13 with exactly its rights: a registry behind one endpoint, asked as clients ask it, then taken away."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from accounts import Accounts
from conftest import Cluster
from vllm_runbook import notebook
from vllm_runbook.steps import observability
from vllm_sandbox import binaries

from .conftest import ROOT, Done, run_notebooks, undocumented, verdict_of

CALM = ("rehearsal.load=false", "rehearsal.outage=false", "rehearsal.crowd=false")
OPTIONS = ("--platform", "sandbox", "--model", "tiny", *(word for pair in CALM for word in ("-p", pair)))
NAMESPACE = "llm-models"
MODELS = ["qwen3-8b", "chat", "qwen3-8b-sql", "qwen3-8b-support", "mistral-7b-instruct-v0.3", "gpt-oss-20b"]


@pytest.fixture(scope="module")
def runs(sandbox: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What 13 needs is there; afterwards nothing is."""
    directory = tmp_path_factory.mktemp("runs")
    before = run_notebooks(directory, "01", "02", "03", "04", "05", "06", *OPTIONS, "-p", "to_zero=false")
    assert before.code == 0, before.out + before.err
    yield directory
    if "scaledobjects" in sandbox.kubectl("get", "crd", "-o", "name"):  # the last test didn't run, or failed
        run_notebooks(directory, "10", *OPTIONS, "-p", "delete_weights=true")
    sandbox.kubectl("delete", "clusterrole,clusterrolebinding", "-l", "app.kubernetes.io/part-of=vllm-runbook")
    sandbox.kubectl("delete", "namespace", "llm", NAMESPACE, "monitoring", "keda", "--ignore-not-found", "--wait=false")


@pytest.fixture(scope="module")
def own(accounts: Accounts, runs: Path) -> Path:
    """A kubeconfig with nothing but the rights of notebook 13."""
    return accounts.kubeconfig("13", name="only-13", options=OPTIONS[4:])


@pytest.fixture(scope="module")
def done(runs: Path, own: Path) -> Done:
    """The notebook, once."""
    done = run_notebooks(runs, "13", *OPTIONS, "-p", f"kubernetes.kubeconfig={own}")
    assert done.code == 0, done.out + done.err
    return done


def test_the_verdict_is_the_stored_one(done: Done) -> None:
    kept = json.loads((ROOT / "notebooks" / "13_multi_model.ipynb").read_text())["cells"]
    assert done.verdict("13_multi_model") == verdict_of(kept)


def test_the_way_from_zero_and_back_was_measured(sandbox: Cluster, done: Done) -> None:
    (step,) = done.summary["notebooks"]
    figures = step["result"]["figures"]
    moments = [figures[f"wake.{name}_s"] for name in ("woken", "ready", "answered", "gone")]
    assert moments == sorted(moments) and moments[0] > 0
    assert undocumented(done.summary["figures"]) == [] and set(figures) <= set(done.summary["figures"])
    cold = sandbox.get("deployment", "model-gpt-oss-20b", "-n", NAMESPACE, "--show-managed-fields")
    assert cold["spec"]["replicas"] == 0
    # at zero nobody owns the field (the scale subresource leaves a zero out), the runbook least of all
    (ours,) = (each for each in cold["metadata"]["managedFields"] if each["manager"] == "vllm-runbook")
    assert "f:template" in ours["fieldsV1"]["f:spec"] and "f:replicas" not in ours["fieldsV1"]["f:spec"]
    assert "Answered " in (done.directory / "13_multi_model.ipynb").read_text()


def test_prometheus_has_the_routers_counts(done: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    asked = observability.prometheus(notebook.begin("05_observability", "sandbox", "tiny"))
    for name, chosen in (("received", ""), ("answers", ', code="200"')):
        expression = f'sum(vllm_runbook_router_{name}_total{{namespace="{NAMESPACE}", model="gpt-oss-20b"{chosen}}})'
        (found,) = asked.query(expression)
        assert found.value >= 1, expression


def test_again_nothing_changes(runs: Path, own: Path, done: Done) -> None:
    again = run_notebooks(runs, "13", *OPTIONS, "-p", f"kubernetes.kubeconfig={own}", "-p", "wake=false")
    assert again.code == 0, again.out + again.err
    assert again.summary["changed"] == 0 and "nothing changed" in again.out


@contextlib.contextmanager
def forwarded(sandbox: Cluster) -> Iterator[str]:
    """The Service ``models`` by stock kubectl."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = str(binaries.ensure("kubectl")["kubectl"])
    command = [program, "--kubeconfig", str(sandbox.kubeconfig), "-n", NAMESPACE, "port-forward", "service/models"]
    process = subprocess.Popen([*command, f"{port}:8000"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout and "Forwarding" in process.stdout.readline()
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()


def key(sandbox: Cluster) -> str:
    script = "go-template={{.data.key | base64decode}}"
    return sandbox.kubectl("-n", NAMESPACE, "get", "secret", "vllm-api-key", "-o", script)


def test_openais_client_reaches_every_model_at_one_endpoint(sandbox: Cluster, done: Done) -> None:
    message: Any = [{"role": "user", "content": "hi"}]
    with forwarded(sandbox) as url:
        client = openai.OpenAI(base_url=url, api_key=key(sandbox), max_retries=0, timeout=60)
        listed = {each.id: each for each in client.models.list()}
        assert list(listed) == MODELS and listed["qwen3-8b-sql"].parent == "qwen3-8b"  # type: ignore[attr-defined]
        for name in ("mistral-7b-instruct-v0.3", "qwen3-8b-support"):
            answer = client.chat.completions.create(model=name, messages=message, max_tokens=5)
            assert answer.model == name and answer.choices[0].finish_reason
        chunks = list(client.chat.completions.create(model="chat", messages=message, max_tokens=9, stream=True))
        assert len(chunks) > 2 and chunks[-1].choices[0].finish_reason == "length"
        with pytest.raises(openai.NotFoundError, match=r"`gpt-5` does not exist. Valid models: qwen3-8b, chat"):
            client.chat.completions.create(model="gpt-5", messages=message)
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=url, api_key="sk-wrong", max_retries=0).models.list()


#: Asks both Services and prints what came.
ASK = """
import urllib.request
for host in ("models", "model-qwen3-8b"):
    try:
        print(host, urllib.request.urlopen(f"http://{host}.llm-models.svc:8000/health", timeout=4).status)
    except OSError as error:
        print(host, type(error).__name__)
"""


def asker(name: str, labels: dict[str, str]) -> dict[str, Any]:
    """A pod that Pod Security lets in, with these labels."""
    nobody = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
    nothing = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    image = "ghcr.io/vllm-runbook/runbook:0.1.0"
    container = {"name": "ask", "image": image, "command": ["python", "-c", ASK], "securityContext": nothing}
    spec = {"restartPolicy": "Never", "securityContext": nobody, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}


def test_policies_let_the_router_to_the_servers_and_nobody_else(sandbox: Cluster, done: Done) -> None:
    there = Cluster(sandbox.name, sandbox.kubeconfig, NAMESPACE)
    there.apply([asker("router-like", {"app.kubernetes.io/component": "router"}), asker("stranger", {})])
    try:
        told = {}
        for name in ("router-like", "stranger"):
            there.wait(f"pod/{name}", "jsonpath={.status.phase}=Succeeded")
            told[name] = dict(line.split() for line in there.kubectl("logs", name).splitlines())
        assert told["router-like"]["model-qwen3-8b"] == "200" and told["router-like"]["models"] != "200"
        assert set(told["stranger"]) == {"models", "model-qwen3-8b"} and "200" not in told["stranger"].values()
    finally:
        there.kubectl("delete", "pod", "router-like", "stranger", "--wait=false")


def test_the_api_server_accepts_what_is_exported_for_kserve(sandbox: Cluster, done: Done, tmp_path: Path) -> None:
    """With KServe's own definition, strictly: an unknown field is an error."""
    exported = sandbox.runbook("export", "kserve", str(tmp_path), *OPTIONS)
    assert exported.returncode == 0, exported.stderr
    schema = str(ROOT / "tests" / "data" / "schemas" / "kserve.yaml")
    sandbox.kubectl("apply", "--server-side", "-f", schema)
    try:
        sandbox.wait_defined("inferenceservices.serving.kserve.io")
        options = ("--server-side", "--dry-run=server", "--validate=strict", "--force-conflicts")
        files = sorted((tmp_path / "sandbox").glob("*.yaml"))
        assert len(files) == 4, "needed.yaml, and one for each model"
        for file in files:
            told = Cluster(sandbox.name, sandbox.kubeconfig, NAMESPACE).kubectl("apply", *options, "-f", str(file))
            assert "serverside-applied" in told
    finally:
        sandbox.kubectl("delete", "-f", schema)


#: Without the cold model and an adapter, and with another cold one: the claim for both has to be larger.
OTHERS = """
name: sandbox
models:
  - {model: qwen3-8b, served_names: [qwen3-8b, chat], max_replicas: 2,
     adapters: [{name: qwen3-8b-support, repo: sandbox/qwen3-8b-support-lora, rank: 32}]}
  - {model: mistral-7b-instruct-v0.3, max_replicas: 2}
"""
ADDED = "  - {model: qwen3-32b, min_replicas: 0}\n"
GONE = ("deployment/model-gpt-oss-20b", "scaledobject/model-gpt-oss-20b", "service/model-gpt-oss-20b")
GONE_JOBS = ("job/prefetch-gpt-oss-20b", "job/prefetch-adapter-qwen3-8b-sql")


def test_another_registry_never_shrinks_the_claim_and_removes_only_when_told(
    sandbox: Cluster, runs: Path, own: Path, done: Done, tmp_path: Path
) -> None:
    """The last but one in this file: what it removes is gone."""
    there = Cluster(sandbox.name, sandbox.kubeconfig, NAMESPACE)
    file = tmp_path / "others.yaml"

    def run(*more: str) -> Done:
        words = (f"registry={file}", "wake=false", f"kubernetes.kubeconfig={own}", *more)
        return run_notebooks(runs, "13", *OPTIONS, *(word for pair in words for word in ("-p", pair)))

    def size() -> str:
        return str(there.get("pvc", "model-weights")["spec"]["resources"]["requests"]["storage"])

    before = size()
    file.write_text(OTHERS)
    fewer = run()
    assert fewer.code == 0, fewer.out + fewer.err
    assert size() == before
    text = (fewer.directory / "13_multi_model.ipynb").read_text()
    assert f"PersistentVolumeClaim {NAMESPACE}/model-weights stays at {before}" in text
    (listed,) = (cell for cell in json.loads(text)["cells"] if "gone_models.find" in "".join(cell["source"]))
    told = "".join(listed["outputs"][0]["data"]["text/plain"])
    assert told.count("remove_gone=True removes it") == len((*GONE, *GONE_JOBS))
    for name in (*GONE, *GONE_JOBS):
        kind, _, object_name = name.partition("/")
        assert there.get(kind, object_name) and f"{NAMESPACE}/{object_name}" in told

    file.write_text(OTHERS + ADDED)
    expansion = ("patch", "storageclass", "shared-fs", "--patch")
    sandbox.kubectl(*expansion, json.dumps({"allowVolumeExpansion": False}))
    try:
        refused = run()
    finally:
        sandbox.kubectl(*expansion, json.dumps({"allowVolumeExpansion": True}))
    assert refused.code == 1 and refused.summary["changed"] == 0 and size() == before
    assert f"PersistentVolumeClaim {NAMESPACE}/model-weights asks for {before}" in refused.err
    assert "StorageClass shared-fs has no allowVolumeExpansion: true" in refused.err
    assert f"volume_size: {before}" in refused.err

    larger = run("remove_gone=true")
    assert larger.code == 0, larger.out + larger.err
    assert int(size().removesuffix("Gi")) > int(before.removesuffix("Gi"))
    left = there.kubectl("get", "deployments,scaledobjects.keda.sh,services,jobs", "-o", "name")
    assert not [name for name in (*GONE, *GONE_JOBS) if name.partition("/")[2] in left.replace("\n", "/").split("/")]
    assert "model-qwen3-32b" in left and there.get("deployment", "model-qwen3-8b")["status"]["readyReplicas"] == 1
    again = run("remove_gone=true")
    assert again.code == 0 and again.summary["changed"] == 0, again.out + again.err


def test_teardown_takes_all_but_the_volume(sandbox: Cluster, runs: Path, done: Done) -> None:
    """Last in this file."""
    gone = run_notebooks(runs, "10", *OPTIONS)
    assert gone.code == 0, gone.out + gone.err
    kinds = "deployments,services,configmaps,secrets,jobs,poddisruptionbudgets,networkpolicies,roles,serviceaccounts"
    left = sandbox.get(kinds, "", "-n", NAMESPACE, "-l", "app.kubernetes.io/managed-by=vllm-runbook")["items"]
    assert [(item["kind"], item["metadata"]["name"]) for item in left] == []
    assert sandbox.get("pvc", "model-weights", "-n", NAMESPACE)["status"]["phase"] == "Bound"
