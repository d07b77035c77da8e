"""``runbook doctor`` against a real control plane: nothing on a namespace that is well or just starting, and causes."""

from __future__ import annotations

import functools
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import Cluster
from vllm_runbook import cluster as k8s
from vllm_runbook import notebook, params
from vllm_runbook.doctor import Diagnosis, context_of, diagnose, examine
from vllm_runbook.plots import PodTimeline
from vllm_runbook.steps import deploy, device_plugin, gpu_nodes, weights

NAMESPACE = "doctor-well"
VLLM = "vllm/vllm-openai:v0.32.0"
SHELL = "busybox:1.36"


@functools.cache
def connection() -> k8s.Cluster:
    return k8s.connect(params.load("sandbox", "tiny").platform)


def look(namespace: str) -> Diagnosis:
    return diagnose(examine(connection(), context_of(params.load("sandbox", "tiny", {"namespace": namespace}))))


def told(diagnosis: Diagnosis) -> list[str]:
    return [f"{each.severity} {each.code} {each.object}: {each.cause}" for each in diagnosis.findings]


@pytest.fixture(scope="module")
def served(sandbox: Cluster) -> Iterator[list[str]]:
    """A served model in a namespace of its own; everything that the doctor said while it came up."""
    sandbox.kubectl("create", "namespace", NAMESPACE)
    said: list[str] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.3):
            said.extend(told(look(NAMESPACE)))

    with ThreadPoolExecutor() as pool:
        watching = pool.submit(watch)
        try:
            serve()
        finally:
            done.set()
        watching.result()
    yield said
    sandbox.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def serve() -> None:
    """Notebooks 01 to 04, without their prose."""
    begin = functools.partial(notebook.begin, platform="sandbox", model="tiny", overrides={"namespace": NAMESPACE})
    book = begin("01_device_plugin")
    book.apply(device_plugin.plan(book))
    device_plugin.verify(book, device_plugin.NodesSeen(book))
    book.apply(gpu_nodes.plan_labels(book))
    book = begin("03_storage_weights")
    book.apply(weights.plan_namespace(book))
    book.apply(weights.plan(book))
    weights.wait_filled(book, weights.Follower())
    book = begin("04_deploy_vllm")
    book.apply(deploy.plan(book))
    deploy.wait_available(book, PodTimeline())


def test_nothing_is_said_while_a_model_comes_up_and_when_it_serves(sandbox: Cluster, served: list[str]) -> None:
    assert served == []
    done = sandbox.runbook("doctor", "--model", "tiny", "--namespace", NAMESPACE)
    assert done.returncode == 0 and done.stdout == f"{NAMESPACE}: nothing is wrong\n"


def test_a_replica_that_is_added_is_just_starting(sandbox: Cluster, served: list[str]) -> None:
    there = Cluster(sandbox.name, sandbox.kubeconfig, NAMESPACE)
    there.kubectl("scale", "deployment/vllm-inference", "--replicas=3")
    while there.get("deployment", "vllm-inference")["status"].get("availableReplicas", 0) < 3:
        assert told(look(NAMESPACE)) == []
    there.kubectl("scale", "deployment/vllm-inference", "--replicas=1")
    while there.get("deployment", "vllm-inference")["status"].get("replicas", 0) > 1:
        assert told(look(NAMESPACE)) == []


def deployment(name: str, container: dict[str, Any], **spec: Any) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", **container}], **spec}}
    selector = {"matchLabels": labels}
    meta = {"name": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta,
        "spec": {"selector": selector, "template": template},
    }


def claim(name: str, storage_class: str) -> dict[str, Any]:
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": storage_class,
        "resources": {"requests": {"storage": "1Gi"}},
    }
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def sleeper(name: str, node: str, claim_name: str) -> dict[str, Any]:
    """A pod that mounts a claim on one node, placed by the scheduler."""
    mount, volume = {"name": "v", "mountPath": "/v"}, {"name": "v", "persistentVolumeClaim": {"claimName": claim_name}}
    container = {"name": "c", "image": SHELL, "command": ["sleep", "3600"], "volumeMounts": [mount]}
    spec = {"nodeSelector": {"kubernetes.io/hostname": node}, "containers": [container], "volumes": [volume]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


GPU = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}
SLEEP = {"image": SHELL, "command": ["sleep", "3600"]}
PROBE = {"httpGet": {"path": "/health", "port": 8000}, "periodSeconds": 1, "failureThreshold": 2}

#: What is broken, as code and object, and how.
BROKEN: dict[tuple[str, str], list[dict[str, Any]]] = {
    ("image-name", "Deployment typo"): [deployment("typo", {"image": "vllm/vllm-openaii:v0.32.0"})],
    ("bad-flag", "Deployment flag"): [
        deployment("flag", {"image": VLLM, "args": ["/m", "--disable-log-requests"], **GPU})
    ],
    ("weights-missing", "Deployment empty"): [deployment("empty", {"image": VLLM, "args": ["/models/none"], **GPU})],
    ("gpu-no-label", "Deployment label"): [deployment("label", {**SLEEP, **GPU}, nodeSelector={"gpu": "h100"})],
    ("does-not-fit", "Deployment large"): [
        deployment("large", {**SLEEP, "resources": {"limits": {"nvidia.com/gpu": "64"}}})
    ],
    ("config-missing", "Deployment secret"): [
        deployment("secret", {**SLEEP, "envFrom": [{"secretRef": {"name": "nowhere"}}]})
    ],
    ("slow-load-killed", "Deployment slow"): [
        deployment("slow", {**SLEEP, "startupProbe": PROBE}, terminationGracePeriodSeconds=1)
    ],
    ("crash-loop", "Deployment crash"): [
        deployment("crash", {"image": SHELL, "command": ["sh", "-c", "echo something odd; exit 3"]})
    ],
    ("pvc-pending", "PersistentVolumeClaim noclass"): [claim("noclass", "nope")],
    ("pvc-missing", "Pod vain"): [sleeper("vain", "gpu-0", "nowhere")],
    ("pdb-blocks-drain", "PodDisruptionBudget strict"): [
        deployment("guarded", SLEEP),
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "strict"},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "guarded"}}},
        },
    ],
}


def name_of(found: Any) -> tuple[str, str]:
    kind, _, rest = found.object.partition(" ")
    return found.code, f"{kind} {rest.partition('/')[2]}"


def until_told(namespace: str, wanted: set[tuple[str, str]], seconds: float = 60) -> Diagnosis:
    """The first diagnosis that has all of these findings."""
    deadline = time.monotonic() + seconds
    while True:
        found = look(namespace)
        missing = wanted - {name_of(each) for each in found.findings}
        if not missing:
            return found
        assert time.monotonic() < deadline, f"{missing} not among {told(found)}"


def test_causes_by_the_real_messages_and_nothing_else(cluster: Cluster, served: list[str]) -> None:
    unused = claim("unused", "block-rwo")  # waits for its first consumer
    cluster.apply([unused, *(item for items in BROKEN.values() for item in items)])
    found = until_told(cluster.namespace, set(BROKEN))
    assert {name_of(each) for each in found.findings} == set(BROKEN)
    assert found.exit_code == 2 and not found.gaps
    by_code = {each.code: each for each in found.findings}
    assert by_code["pdb-blocks-drain"].severity == "warning"
    assert "--disable-log-requests" in by_code["bad-flag"].cause
    assert "something odd" in str(by_code["crash-loop"].evidence)


def test_a_disk_that_is_wanted_on_a_second_node(cluster: Cluster) -> None:
    cluster.apply([claim("disk", "block-rwo"), sleeper("one", "gpu-0", "disk")])
    cluster.wait("pod/one", "condition=Ready")
    cluster.apply([sleeper("two", "cpu-0", "disk"), sleeper("three", "gpu-1", "disk")])  # the last in another zone
    told_ = until_told(cluster.namespace, {("multi-attach", "Pod two"), ("volume-zone", "Pod three")})
    found = next(each for each in told_.findings if each.code == "multi-attach")
    assert len(told_.findings) == 2 and "one on gpu-0" in found.cause and "ReadWriteOnce" in str(found.evidence)


def test_taints_and_who_holds_the_gpus(cluster: Cluster, served: list[str]) -> None:
    cluster.kubectl("taint", "nodes", "gpu-0", "gpu-1", "gpu-2", "team=a:NoSchedule")
    try:
        cluster.apply(deployment("waits", {**SLEEP, **GPU}))
        (found,) = until_told(cluster.namespace, {("gpu-taint", "Deployment waits")}).findings
        assert "team=a:NoSchedule" in found.cause
    finally:
        cluster.kubectl("taint", "nodes", "gpu-0", "gpu-1", "gpu-2", "team-")
    four = {"resources": {"limits": {"nvidia.com/gpu": "4"}}}
    cluster.kubectl("delete", "deployment", "waits", "--wait=true")
    cluster.apply(deployment("holds", {**SLEEP, **four}))
    cluster.kubectl("scale", "deployment/holds", "--replicas=4")
    (found,) = until_told(cluster.namespace, {("gpu-in-use", "Deployment holds")}).findings
    assert f"Deployment {cluster.namespace}/holds holds" in found.cause


def test_a_preemption_is_the_root_of_what_waits_for_it(cluster: Cluster, served: list[str]) -> None:
    meta = {"name": cluster.namespace}
    cluster.apply({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": meta, "value": 1000})
    try:
        gpu = {"resources": {"limits": {"nvidia.com/gpu": "4"}}}
        only = {"nodeSelector": {"kubernetes.io/hostname": _free_node(cluster)}, "terminationGracePeriodSeconds": 1}
        cluster.apply(deployment("victim", {**SLEEP, **gpu}, **only))
        cluster.wait("deployment/victim", "condition=Available")
        cluster.apply(deployment("winner", {**SLEEP, **gpu}, priorityClassName=cluster.namespace, **only))
        cluster.wait("deployment/winner", "condition=Available")
        found = next(each for each in _after(cluster, "pod-preempted").findings if each.code == "pod-preempted")
        assert found.severity == "error" and "winner" in found.cause and "priority 1000" in str(found.evidence)
        assert found.consequences == (f"gpu-in-use: Deployment {cluster.namespace}/victim",)
    finally:
        cluster.kubectl("delete", "priorityclass", cluster.namespace)


def _free_node(cluster: Cluster) -> str:
    """A GPU node that no server of another test uses."""
    pods = cluster.get("pods", "", "-A")["items"]
    used = {
        pod["spec"].get("nodeName")
        for pod in pods
        for container in pod["spec"]["containers"]
        if "nvidia.com/gpu" in container.get("resources", {}).get("limits", {})
    }
    return next(name for name in ("gpu-0", "gpu-1", "gpu-2") if name not in used)


def _after(cluster: Cluster, code: str) -> Diagnosis:
    """The first diagnosis in which the finding has consequences: the scheduler has tried the replacement."""
    deadline = time.monotonic() + 30
    while True:
        found = look(cluster.namespace)
        if any(each.code == code and each.consequences for each in found.findings):
            return found
        assert time.monotonic() < deadline, told(found)


def test_on_the_command_line(cluster: Cluster) -> None:
    cluster.apply(deployment("typo", {"image": "vllm/vllm-openaii:v0.32.0"}))
    until_told(cluster.namespace, {("image-name", "Deployment typo")})
    done = cluster.runbook("doctor", "--model", "tiny", "--namespace", cluster.namespace, "--json")
    document = json.loads(done.stdout)
    assert done.returncode == document["exit_code"] == 2
    assert [each["code"] for each in document["findings"]] == ["image-name"]
    plain = cluster.runbook("doctor", "--model", "tiny", "--namespace", cluster.namespace)
    assert "ERROR image-name" in plain.stdout and "\x1b[" not in plain.stdout
    for wrong in (["--namespace", "nowhere"], ["-p", "storag.class=x"], ["--platform", "nowhere"]):
        assert cluster.runbook("doctor", *wrong).returncode == 3


def test_with_few_permissions_it_says_what_it_could_not_see(cluster: Cluster, tmp_path: Path) -> None:
    cluster.kubectl("create", "serviceaccount", "half")
    document = yaml.safe_load(cluster.kubeconfig.read_text())
    document["users"][0]["user"] = {"token": cluster.kubectl("create", "token", "half").strip()}
    file = tmp_path / "config"
    file.write_text(yaml.safe_dump(document))
    arguments = ["doctor", "--namespace", cluster.namespace, "-p", f"kubernetes.kubeconfig={file}"]
    nothing = cluster.runbook(*arguments)
    assert nothing.returncode == 3 and "forbidden" in nothing.stderr
    cluster.kubectl("create", "role", "half", "--verb=list", "--resource=pods,events")
    cluster.kubectl("create", "rolebinding", "half", "--role=half", f"--serviceaccount={cluster.namespace}:half")
    cluster.apply(deployment("crash", {"image": SHELL, "command": ["false"]}))
    until_told(cluster.namespace, {("crash-loop", "Deployment crash")})
    half = cluster.runbook(*arguments, "--json")
    document = json.loads(half.stdout)
    assert half.returncode == 2 and [each["code"] for each in document["findings"]] == ["crash-loop"]
    gaps = " ".join(gap["what"] for gap in document["gaps"])
    assert "Node objects" in gaps and "log of crash" in gaps and "Deployment objects" in gaps
