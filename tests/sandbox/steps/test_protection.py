"""Who reaches a server, and what its pods may do: the API key, NetworkPolicies, Pod Security, an image by digest."""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from conftest import Cluster
from vllm_runbook.cluster import ApiError, Hopeless
from vllm_runbook.errors import RunbookError
from vllm_runbook.notebook import Notebook
from vllm_runbook.plots import PodTimeline
from vllm_runbook.steps import barriers, deploy, protection, weights

from .conftest import Begin, fill

STEP = "04_deploy_vllm"
RUNBOOK = "ghcr.io/vllm-runbook/runbook:0.1.0"
#: Asks for /health by the Service's name and says what came of it.
ASK = """
import sys, urllib.request
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=15).status)
except OSError as error:
    print("failed", getattr(error, "code", "") or error)
"""


def servers(cluster: Cluster) -> list[dict[str, Any]]:
    """The server pods, with old ones that still end."""
    return list(cluster.get("pods", "", "-l", deploy.PODS)["items"])


def serve(book: Notebook) -> None:
    book.apply(deploy.plan(book))
    deploy.wait_available(book, PodTimeline("", 1))


def restricted(name: str, container: dict[str, object], **labels: str) -> dict[str, object]:
    """A pod that the level restricted lets in."""
    secure = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True}
    secure |= {"runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"restartPolicy": "Never", "containers": [{"name": "main", "securityContext": secure} | container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}


@pytest.fixture
def spaces(sandbox: Cluster) -> Iterator[dict[str, Cluster]]:
    """Namespaces of Prometheus, of a gateway, and of somebody else."""
    found = {}
    for role in ("metrics", "gateway", "other"):
        name = f"{role}-{secrets.token_hex(3)}"
        sandbox.kubectl("create", "namespace", name)
        sandbox.kubectl("-n", name, "wait", "--for=create", "serviceaccount/default", "--timeout=30s")
        found[role] = Cluster(sandbox.name, sandbox.kubeconfig, name)
    yield found
    for each in found.values():
        sandbox.kubectl("delete", "namespace", each.namespace, "--wait=false")


def ask(room: Cluster, url: str, **labels: str) -> str:
    """What a pod in this room gets from ``url``; the pod stays until it is read."""
    name = f"ask-{secrets.token_hex(2)}"
    room.apply(restricted(name, {"image": RUNBOOK, "command": ["python", "-c", ASK, url]}, **labels))
    return name


def said(room: Cluster, name: str) -> str:
    room.wait(f"pod/{name}", "jsonpath={.status.phase}=Succeeded")
    return room.kubectl("logs", name).strip()


@pytest.mark.usefixtures("gpus")
def test_a_server_behind_key_and_policy_by_digest(
    begin: Begin, cluster: Cluster, spaces: dict[str, Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    over = {"metrics.namespace": spaces["metrics"].namespace, "network.clients": [spaces["gateway"].namespace]}
    fill(begin("03_storage_weights", **over))
    wrong = begin(STEP, **over, **{"images.vllm": f"vllm/vllm-openai@sha256:{'0' * 64}"})
    with pytest.raises(Hopeless, match=f"docker.io/vllm/vllm-openai@sha256:{'0' * 64}: not found"):
        serve(wrong)
    serve(begin(STEP, **over))
    image = servers(cluster)[0]["status"]["containerStatuses"][0]["imageID"]
    assert re.fullmatch("vllm/vllm-openai@sha256:[0-9a-f]{64}", image)
    book = begin(STEP, **over, **{"images.vllm": image})
    serve(book)
    specs = [pod["spec"] for pod in servers(cluster)]
    assert image in [spec["containers"][0]["image"] for spec in specs]
    barriers.prove(book)
    assert all(check.ok for check in book.result.checks), book.result.checks

    key = protection.api_key(book)
    assert key and key.startswith(protection.PREFIX)
    with pytest.raises(ApiError, match="401") as refused:
        deploy.server(book, with_key=False).text("v1/models")
    assert refused.value.message == "Unauthorized"
    assert deploy.chat(book, "Are you well?", max_tokens=4).whole
    for text in (json.dumps(specs), cluster.kubectl("logs", f"deployment/{deploy.DEPLOYMENT}")):
        assert key not in text and base64.b64encode(key.encode()).decode() not in text
    assert not any(each.changes for each in deploy.plan(book).changes)

    url = f"http://inference.{cluster.namespace}.svc.cluster.local:8000/health"
    asked = {
        "gateway": (spaces["gateway"], ask(spaces["gateway"], url)),
        "Prometheus": (
            spaces["metrics"],
            ask(spaces["metrics"], url, **{"app.kubernetes.io/name": "prometheus-server"}),
        ),
        "another pod beside Prometheus": (spaces["metrics"], ask(spaces["metrics"], url)),
        "other namespace": (spaces["other"], ask(spaces["other"], url)),
        "other namespace, labelled": (spaces["other"], ask(spaces["other"], url, **{"app.kubernetes.io/name": "load"})),
        "own namespace": (cluster, ask(cluster, url)),
        "load": (cluster, ask(cluster, url, **{"app.kubernetes.io/name": "load"})),
    }
    answers = {who: said(*where) for who, where in asked.items()}
    reached = {who for who, answer in answers.items() if answer == "200"}
    assert reached == {"gateway", "Prometheus", "load"}, answers
    assert {answer for who, answer in answers.items() if who not in reached} == {"failed 504"}
    assert deploy.endpoint(book).text("health") == ""  # the API server's proxied request

    monkeypatch.setenv(protection.VARIABLE, "too short\n"[:5])
    with pytest.raises(RunbookError, match="is no key"):
        deploy.plan(book)
    monkeypatch.setenv(protection.VARIABLE, "sk-my-own-key")
    shown = str(deploy.plan(book).table())
    assert "hidden" in shown and "sk-my-own-key" not in shown and key not in shown


def test_the_namespace_lets_no_privileged_pod_in(begin: Begin, cluster: Cluster) -> None:
    own = f"own-{secrets.token_hex(3)}"
    book = begin("03_storage_weights", namespace=own)
    book.apply(weights.plan_namespace(book))
    cluster = Cluster(cluster.name, cluster.kubeconfig, own)
    cluster.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=30s")
    bad = restricted("bad", {"image": "busybox:1.36", "command": ["true"], "securityContext": {"privileged": True}})
    refusal = cluster.kubectl("create", "-f", "-", stdin=json.dumps(bad), ok=False)
    assert 'violates PodSecurity "restricted:latest": privileged' in refusal
    root = restricted("root", {"image": "busybox:1.36", "command": ["sh", "-c", "echo x > /file || echo refused"]})
    root["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = True  # type: ignore[index]
    cluster.apply(root)
    cluster.wait("pod/root", "jsonpath={.status.phase}=Succeeded")
    assert "refused" in cluster.kubectl("logs", "root")
    cluster.kubectl("delete", "namespace", own, "--wait=false")


@pytest.mark.parametrize(
    ("user", "words"), [(0, "container's runAsUser breaks non-root policy"), (None, "image will run as root")]
)
def test_a_container_that_would_be_root_does_not_start(cluster: Cluster, user: int | None, words: str) -> None:
    secure = {"runAsNonRoot": True} | ({} if user is None else {"runAsUser": user})
    container = {"name": "c", "image": "busybox:1.36", "command": ["true"], "securityContext": secure}
    cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [container]}})
    reason = "jsonpath={.status.containerStatuses[0].state.waiting.reason}=CreateContainerConfigError"
    cluster.wait("pod/p", reason)
    assert words in cluster.get("pod", "p")["status"]["containerStatuses"][0]["state"]["waiting"]["message"]
