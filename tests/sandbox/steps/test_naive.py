"""The usual guide's deployment: every fault seen, mended until it serves, and gone without a trace.

One walk for the whole module, by a service account that may do what permissions/serving.py says and nothing else.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import Cluster
from vllm_runbook import notebook, params
from vllm_runbook.cluster import ServiceProxy, connect
from vllm_runbook.notebook import Notebook
from vllm_runbook.permissions import serving as rights
from vllm_runbook.steps import deploy, device_plugin, gpu_nodes, naive, teardown
from vllm_runbook.steps.naive_faults import FAULTS, Faults
from vllm_runbook.steps.naive_readings import all_of_them
from vllm_runbook.steps.naive_walk import Walk

from .conftest import Begin

ROOT = Path(__file__).parents[3]
STEP = "04_deploy_vllm"
POD = "{.items[0].metadata.uid}"


@dataclass
class Walked:
    """A walk that is done. ``room`` is the cluster, in the usual guide's namespace."""

    book: Notebook
    walk: Walk
    room: Cluster
    words: dict[int, str]

    def pod(self) -> str:
        return self.room.kubectl("get", "pods", "-l", naive.PODS, "-o", f"jsonpath={POD}")


def row_words(faults: Faults) -> dict[int, str]:
    return {int(row[0]): row[2] for row in faults.table().rows}


@pytest.fixture(scope="module")
def walked(sandbox: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walked]:
    namespace = f"naive-{secrets.token_hex(3)}"
    own = replace(sandbox, namespace=namespace)
    sandbox.kubectl("create", "namespace", namespace)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("HF_TOKEN", raising=False)
        book = notebook.begin("01_device_plugin", "sandbox", "qwen3-8b", {"namespace": namespace})
        book.apply(device_plugin.plan(book))
        device_plugin.verify(book, device_plugin.NodesSeen(book))
        book.apply(gpu_nodes.plan_labels(book))
        book = restricted(own, tmp_path_factory.mktemp("restricted") / "config")
        walk = Walk(book)
        walk.all()
        yield Walked(book, walk, replace(own, namespace=f"{namespace}-naive"), row_words(walk.faults))
    naive.remove(notebook.begin(STEP, "sandbox", "qwen3-8b", {"namespace": namespace}))
    sandbox.kubectl("delete", "clusterrole,clusterrolebinding", namespace)
    sandbox.kubectl("delete", "namespace", namespace, "--wait=false")


def restricted(cluster: Cluster, file: Path) -> Notebook:
    """A notebook whose service account has the permissions of the walk."""
    overrides = {"namespace": cluster.namespace, "kubernetes.kubeconfig": str(file)}
    found = params.load("sandbox", "qwen3-8b", overrides)
    name, rules = cluster.namespace, rights.naive(found.platform)
    each: list[dict[str, Any]] = [
        {
            "apiGroups": [rule.group],
            "resources": [f"{rule.resource}/{rule.subresource}".rstrip("/")],
            "verbs": [rule.verb],
        }
        for rule in rules
    ]
    cluster.apply(
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": each}
    )
    cluster.kubectl("create", "serviceaccount", "walker")
    cluster.kubectl("create", "clusterrolebinding", name, f"--clusterrole={name}", f"--serviceaccount={name}:walker")
    document = yaml.safe_load(cluster.kubeconfig.read_text())
    document["users"][0]["user"] = {"token": cluster.kubectl("create", "token", "walker").strip()}
    file.write_text(yaml.safe_dump(document))
    return Notebook(STEP, found, connect(found.platform))


def test_each_fault_is_shown(walked: Walked) -> None:
    assert walked.walk.faults.missing == {}
    assert list(walked.words) == list(FAULTS) == list(range(1, 17))
    assert {check.name: check.ok for check in walked.book.result.checks} == {
        "each of the usual guide's 16 faults was shown": True
    }


@pytest.mark.parametrize(
    ("number", "evidence"),
    [
        (1, ["131.4 GiB per GPU, which has 80.0 GiB", "torch.OutOfMemoryError"]),
        (2, ["CrashLoopBackOff, exit code 2", "unrecognized arguments: --disable-log-requests"]),
        (3, ["225 s", "allows 150 s", "got no traffic before initialDelaySeconds 30"]),
        (4, ["Init:CrashLoopBackOff, exit code 1", "Told to look where Qwen/Qwen3-8B is complete"]),
        (5, ["It asks the public hub: CrashLoopBackOff", "With this platform's hub", "GatedRepoError: 401"]),
        (6, ['storageclass.storage.k8s.io "standard" not found', "unbound", "exit code 17", "can't be written"]),
        (7, ["vllm:num_requests_waiting, a gauge", "vllm_pending_requests_total is not there"]),
        (8, ["refused: 429", "needs 1 healthy pods and has 1", "A deletion (dry run) isn't"]),
        (9, ["GPUs are free now"]),
        (10, ["no preStop hook, no --shutdown-timeout, and a grace period of 30 s"]),
        (11, ["No node here has such a taint", "aks, eks, gke, k3s, sandbox", "cloud.google.com/gke-spot"]),
        (12, ["unknown flag: --server-side", "the API server sends 1 of"]),
        (13, ["serves policy/v1;", "policy/v1beta1 is 404"]),
        (14, ['-naive" not found', "no Namespace, no Service, no Secret", "Always", "Burstable"]),
        (15, ["140Gi is 27 %"]),
        (16, ["priority is 0", "aks 30 s, eks 120 s, gke 30 s"]),
    ],
)
def test_what_was_observed(walked: Walked, number: int, evidence: list[str]) -> None:
    for words in evidence:
        assert words in walked.words[number]


def test_the_table_names_no_pod_and_no_path(walked: Walked) -> None:
    pods = walked.room.kubectl("get", "pods", "-o", "name").replace("pod/", "").split()
    text = str(walked.walk.faults.table())
    assert pods and not [pod for pod in pods if pod in text]
    assert str(walked.room.kubeconfig.parent) not in text


def test_mended_it_serves_and_nothing_else_is_mended(walked: Walked) -> None:
    answer = naive.chat(walked.book, "Why?")
    assert answer.whole and walked.book.result.checks[-1].ok
    pod = walked.room.get("pods", "", "-l", naive.PODS)["items"][0]
    server = pod["spec"]["containers"][0]
    size = {"memory": "16Gi", "nvidia.com/gpu": "1"}
    assert server["resources"] == {"limits": {"cpu": "4", **size}, "requests": {"cpu": "2", **size}}
    assert "--model=/models/Qwen/Qwen3-8B" in server["args"] and "--served-model-name=qwen3-8b" in server["args"]
    assert not [word for word in server["args"] if "shutdown" in word or "queued" in word]
    assert "lifecycle" not in server and "initContainers" not in pod["spec"]
    assert pod["spec"]["terminationGracePeriodSeconds"] == 30 and pod["status"]["qosClass"] == "Burstable"
    assert server["readinessProbe"]["initialDelaySeconds"] == 30 and server["startupProbe"]["failureThreshold"] == 30
    found = walked.room.get("deployment", naive.DEPLOYMENT)["spec"]
    assert found["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert walked.room.get("pdb", naive.BUDGET)["spec"]["minAvailable"] == 1
    claims = [item["metadata"]["name"] for item in walked.room.get("pvc")["items"]]
    assert claims == ["model-weights"]  # the guide's own can't be filled, and nothing mounts it


def test_answers_through_the_api_server_are_never_cut_off(walked: Walked) -> None:
    """The server begins its answer at once, which is when the API server's proxy may cut it off (ServiceProxy)."""
    proxy = ServiceProxy(walked.book.cluster, walked.room.namespace, naive.SERVICE, deploy.PORT)
    body = {"model": "qwen3-8b", "prompt": "Why?", "max_tokens": 1, "stream": True}
    assert {list(proxy.stream("v1/completions", body))[-1] for _ in range(300)} == {"[DONE]"}


def test_with_prometheus_and_keda_more_can_be_asked(walked: Walked) -> None:
    class Prometheus:
        asked: list[str] = []

        def query(self, expression: str, /) -> list[Any]:
            self.asked.append(expression)
            return []

    release = yaml.safe_load_all((ROOT / "manifests" / "keda" / "release.yaml").read_text())
    (crd,) = [item for item in release if item["metadata"]["name"] == "scaledobjects.keda.sh"]
    walked.room.kubectl("create", "-f", "-", stdin=yaml.safe_dump(crd))
    try:
        walked.room.wait_defined("scaledobjects.keda.sh")
        book, faults = Notebook(STEP, walked.book.params, connect(walked.book.params.platform)), Faults()
        all_of_them(book, faults, Prometheus())
        words = row_words(faults)[7]
        assert Prometheus.asked == ['avg(rate(vllm_pending_requests_total{job="vllm-inference"}[2m]))']
        assert "yields nothing for its query" in words and "ScaledObject is accepted" in words
        assert walked.room.get("scaledobjects")["items"] == []
    finally:
        walked.room.kubectl("delete", "crd", "scaledobjects.keda.sh")


def test_a_second_walk_leaves_the_pod_that_serves_and_the_weights(walked: Walked) -> None:
    before, claim = walked.pod(), walked.room.get("pvc", "model-weights")["metadata"]["uid"]
    again = Walk(walked.book)
    again.all()
    assert again.faults.missing == {}
    assert walked.pod() == before
    assert walked.room.get("pvc", "model-weights")["metadata"]["uid"] == claim
    assert '"downloaded": 0' in walked.room.kubectl("logs", "job/prefetch-weights")
    changed = {number for number, words in row_words(again.faults).items() if words != walked.words[number]}
    assert changed == {14}  # the namespace was there


def test_teardown_knows_it(walked: Walked, begin: Begin) -> None:
    book = begin("10_teardown", "qwen3-8b", namespace=walked.book.namespace)
    scope = teardown.plan(book)
    gone = {f"{ref.kind}/{ref.name}" for ref, _ in scope.remove if ref.namespace == walked.room.namespace}
    assert gone >= {"PersistentVolumeClaim/model-weights", "Deployment/vllm-inference", "PodDisruptionBudget/vllm-pdb"}
    assert walked.room.namespace in {ref.name for ref, _ in scope.remove if ref.kind == "Namespace"}


def test_a_walk_that_stopped_in_the_middle_begins_again(walked: Walked) -> None:
    """The guide's claim has another class by then, and a pod uses it."""
    stopped = Walk(walked.book)
    stopped.claim()
    stopped.read_only()
    again = Walk(walked.book)
    assert "The claim stays Pending" in str(again.claim())


def test_removal_leaves_nothing(walked: Walked) -> None:
    gone = naive.remove(walked.book)
    assert {ref.kind for ref in gone} >= {
        "Deployment",
        "Service",
        "PersistentVolumeClaim",
        "PodDisruptionBudget",
        "Namespace",
    }
    assert "NotFound" in walked.room.kubectl("get", "namespace", walked.room.namespace, ok=False)
    assert naive.remove(walked.book) == []


def test_where_it_is_not_allowed_nothing_is_done(begin: Begin, capsys: pytest.CaptureFixture[str]) -> None:
    book = begin(STEP, "qwen3-8b", **{"rehearsal.outage": False})
    capsys.readouterr()
    assert Walk(book).all() is None
    assert (
        capsys.readouterr().out == "Left out: sandbox does not allow the rehearsal of an outage (rehearsal.outage).\n"
    )
    assert book.result.changed == 0 and not book.result.checks
