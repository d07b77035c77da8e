"""The tests' sandbox dressed as a platform: its nodes, stand-ins for its storage classes, and the kinds it serves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import NODES, Cluster
from vllm_runbook import notebook, params
from vllm_runbook.notebook import Notebook
from vllm_runbook.params import Params
from vllm_runbook.steps import device_plugin, gpu_nodes

from .looks import LOOKS

ROOT = Path(__file__).parents[3]
MODEL = "tiny"
#: Classes of the sandbox that behave as the platform's do; theirs have no provisioner here.
STAND_INS = {
    "efs-sc": "shared-fs",
    "azurefile-csi-premium": "shared-fs",
    "hyperdisk-ml": "block-rox",
    "gp3": "block-rwo",
    "managed-csi-premium": "block-rwo",
}
#: Definitions of kinds that platforms serve, from where they are published.
CRDS = (
    ROOT / "tests/data/schemas/podmonitors.yaml",
    ROOT / "tests/data/schemas/prometheusrules.yaml",
    ROOT / "tests/data/schemas/volumesnapshots.yaml",
    ROOT / "manifests/keda/release.yaml",
    ROOT / "manifests/spot/karpenter/crds.yaml",
    ROOT / "manifests/canary/gateway/crds.yaml",
    ROOT / "tests/data/schemas/istio.yaml",
)


def load(platform: str, **overrides: Any) -> Params:
    """A platform's parameters, reaching the tests' sandbox and its hub instead of the real ones."""
    here = {"kubernetes.context": "sandbox-default", "kubernetes.kubeconfig": None}
    hub = {"hub.endpoint": "http://hub.sandbox.internal"}
    return params.load(platform, MODEL, {**here, **hub, "namespace": f"llm-{platform}", **overrides})


@pytest.fixture(scope="module")
def bare(sandbox: Cluster) -> Iterator[Cluster]:
    """The sandbox with the platforms' kinds and classes, and nothing to schedule on: its own nodes are cordoned."""
    there = set(sandbox.kubectl("get", "crd,storageclass", "-o", "name").split())
    made = [item for item in [*definitions(), *stand_ins(sandbox)] if named(item) not in there]
    create(sandbox, made)
    sandbox.wait_defined(*(item["metadata"]["name"] for item in made if item["kind"] == "CustomResourceDefinition"))
    sandbox.kubectl("label", "node", *NODES, "hardware-type-")  # a DaemonSet goes to nodes that are cordoned, too
    sandbox.kubectl("cordon", *NODES)
    try:
        yield sandbox
    finally:
        sandbox.kubectl("uncordon", *NODES)
        delete(sandbox, made)


def create(sandbox: Cluster, items: list[dict[str, Any]]) -> None:
    """Checked by the server alone: kubectl's own validation fetches every kind's schema first."""
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    sandbox.kubectl("create", "--validate=false", "-f", "-", stdin=listed)


def delete(sandbox: Cluster, items: list[dict[str, Any]]) -> None:
    if not items:
        return
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    sandbox.kubectl("delete", "--ignore-not-found", "-f", "-", stdin=listed)


def named(item: dict[str, Any]) -> str:
    """As ``kubectl get -o name`` says it."""
    group = item["apiVersion"].partition("/")[0]
    return f"{item['kind'].lower()}.{group}/{item['metadata']['name']}"


def definitions() -> list[dict[str, Any]]:
    found = [item for file in CRDS for item in yaml.safe_load_all(file.read_text()) if item]
    return [*(item for item in found if item["kind"] == "CustomResourceDefinition"), POD_MONITORING]


#: Google publishes this definition where a test can't fetch it: the kind is there, its fields aren't checked.
POD_MONITORING = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "podmonitorings.monitoring.googleapis.com"},
    "spec": {
        "group": "monitoring.googleapis.com",
        "names": {"kind": "PodMonitoring", "plural": "podmonitorings"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


def stand_ins(sandbox: Cluster) -> Iterator[dict[str, Any]]:
    for name, behaves_like in STAND_INS.items():
        item = sandbox.get("storageclass", behaves_like)
        notes = item["metadata"]["annotations"]
        modes = {key: notes[key] for key in notes if "access-modes" in key or key.startswith("sandbox.")}
        yield {**item, "metadata": {"name": name, "annotations": modes}}


@pytest.fixture(scope="module", params=sorted(LOOKS))
def platform(request: pytest.FixtureRequest, bare: Cluster) -> Iterator[str]:
    """The sandbox looks like this platform: its nodes, their GPUs advertised and labelled as by notebooks 01 and 02."""
    name = str(request.param)
    nodes = LOOKS[name].nodes(name)
    names = [node["metadata"]["name"] for node in nodes]
    made = [*nodes, *LOOKS[name].more]
    create(bare, made)
    try:
        advertise(bare, name, [each for each in names if not each.endswith("-cpu")])
        yield name
    finally:
        bare.kubectl("delete", "namespace", f"llm-{name}", "--ignore-not-found", "--wait=false")
        bare.kubectl("-n", f"llm-{name}", "delete", "pods", "--all", "--grace-period=0", "--force")
        bare.kubectl("delete", "daemonset", "-n", "kube-system", device_plugin.NAME, "--ignore-not-found")
        delete(bare, made)


def advertise(sandbox: Cluster, platform: str, with_gpus: list[str]) -> None:
    """Notebooks 01 and 02. Where the platform brings the plugin, one that isn't ours stands in for it."""
    loaded = load(platform)
    if loaded.platform.device_plugin.mode == "managed":
        managed = load(platform, **{"device_plugin.mode": "manifest"}).platform
        Cluster(sandbox.name, sandbox.kubeconfig, "kube-system").apply(device_plugin.objects(managed))
    book = begin("01_device_plugin", loaded)
    book.apply(device_plugin.plan(book))
    wanted = "jsonpath={.status.allocatable.nvidia\\.com/gpu}=1"
    sandbox.kubectl("wait", *(f"node/{name}" for name in with_gpus), f"--for={wanted}", "--timeout=60s", timeout=75)
    book = begin("02_label_gpu_nodes", loaded)
    book.apply(gpu_nodes.plan_labels(book, with_gpus))


def begin(step: str, loaded: Params) -> Notebook:
    """A notebook with these parameters."""
    return notebook.begin(step, loaded.platform.name, MODEL, loaded.overrides)
