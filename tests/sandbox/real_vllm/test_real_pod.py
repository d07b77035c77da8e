"""The real server in a pod of the sandbox: part of ``make conformance ENGINE=vllm``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml

from conftest import Cluster
from vllm_sandbox import lifecycle
from vllm_sandbox.config import SandboxConfig
from vllm_sandbox.hub.content import read
from vllm_sandbox.hub.models import CATALOGUE
from vllm_sandbox.hub.repository import DigestCache, snapshot

ROOT = Path(__file__).parents[3]
NODE = "cpu-0"


@pytest.fixture(scope="module")
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if request.config.getoption("--engine") != "vllm":
        pytest.skip("the real vLLM is tested on request: make vllm, then --engine=vllm")
    before = os.environ.get("XDG_STATE_HOME")
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))
    try:
        cluster = Cluster("default", lifecycle.up("default", SandboxConfig(engine="vllm")).kubeconfig)
        cluster.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=60s")
        yield cluster
    finally:
        lifecycle.down("default")
        os.environ.pop("XDG_STATE_HOME")
        if before is not None:
            os.environ["XDG_STATE_HOME"] = before


@pytest.fixture(scope="module")
def weights(real: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A volume: the toy on the node's disk."""
    place = real.kubeconfig.parent / "nodes" / NODE / "weights"
    place.mkdir(parents=True)
    digests = DigestCache(tmp_path_factory.mktemp("digests"))
    for name, file in snapshot(CATALOGUE["sandbox/tiny-llama"], 0, digests).files.items():
        (place / name).write_bytes(b"".join(read(file.content)))
    return {"name": "weights", "hostPath": {"path": "/weights", "type": "Directory"}}


def test_our_deployment_starts_answers_and_ends(real: Cluster, weights: dict[str, Any]) -> None:
    """The manifest's container as it is: read-only root, its probes, its flags for a GPU."""
    document = yaml.safe_load((ROOT / "manifests/vllm/deployment.yaml").read_text())
    spec = document["spec"]["template"]["spec"]
    container = spec["containers"][0]
    container["args"] = ["/models", "--served-model-name=tiny", "--port=8000", "--max-model-len=1024"]
    container["args"] += ["--gpu-memory-utilization=0.92", "--tensor-parallel-size=1", "--shutdown-timeout=30"]
    container["env"] = [each for each in container["env"] if "valueFrom" not in each]
    container["resources"] = {"limits": {"memory": "16Gi"}}
    for name in ("priorityClassName", "serviceAccountName", "affinity"):
        del spec[name]
    spec["volumes"][0] = weights
    spec["nodeName"] = NODE
    labels = {"app": "real"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "real", "labels": labels}, "spec": spec}
    port = {"port": 8000, "targetPort": "http"}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "real"},
        "spec": {"selector": labels, "ports": [port]},
    }
    real.apply([pod, service])
    real.wait("pod/real", "condition=Ready", timeout=400)
    log = real.kubectl("logs", "real")
    assert log.startswith("REAL vLLM 0.32.0 on this machine's CPU")
    assert "SIMULATED" not in log
    proxy = "/api/v1/namespaces/default/pods/real:8000/proxy"
    assert json.loads(real.kubectl("get", "--raw", f"{proxy}/version"))["version"].startswith("0.32.0")
    address = f"http://127.{real.get('pod', 'real')['status']['podIP'].partition('.')[2]}:8000/v1"
    client = openai.OpenAI(base_url=address, api_key="none", max_retries=0, timeout=120)
    answer = client.completions.create(model="tiny", prompt="hello", max_tokens=8, extra_body={"ignore_eos": True})
    assert answer.usage and answer.usage.completion_tokens == 8
    metrics = real.kubectl("get", "--raw", f"{proxy}/metrics")
    assert 'vllm:generation_tokens_total{engine="0",model_name="tiny"} 8.0' in metrics
    real.kubectl("delete", "pod", "real", "--timeout=120s", timeout=130)


def test_more_memory_than_allowed_is_an_oom_kill(real: Cluster, weights: dict[str, Any]) -> None:
    """Measured, not reported: the server's three processes hold more than this limit."""
    container = {
        "name": "vllm",
        "image": "vllm/vllm-openai:v0.32.0",
        "args": ["/models", "--port=8000", "--max-model-len=1024"],
        "resources": {"limits": {"memory": "300Mi"}},
        "volumeMounts": [{"name": "weights", "mountPath": "/models", "readOnly": True}],
    }
    spec = {"nodeName": NODE, "containers": [container], "volumes": [weights], "restartPolicy": "Never"}
    spec["enableServiceLinks"] = False
    real.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "small"}, "spec": spec})
    real.wait("pod/small", "jsonpath={.status.phase}=Failed", timeout=200)
    state = real.get("pod", "small")["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (state["reason"], state["exitCode"]) == ("OOMKilled", 137)
