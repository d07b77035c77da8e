"""The crowd's manifests fit what they are used with."""

from __future__ import annotations

from vllm_runbook import cluster, manifests
from vllm_runbook.steps import crowd
from vllm_sandbox import versions
from vllm_sandbox.images.registry import split

KWOK = cluster.load(manifests.find("crowd/kwok.yaml"))
POD, NODE = manifests.manifest("crowd/pod.yaml", crowd.NAMESPACE), manifests.manifest("crowd/node.yaml", "")


def deployment() -> cluster.Object:
    return next(item for item in KWOK if item["kind"] == "Deployment")


def test_kwok_is_the_version_that_the_sandbox_has() -> None:
    image = deployment()["spec"]["template"]["spec"]["containers"][0]["image"]
    assert split(image) == ("registry.k8s.io/kwok/kwok", versions.KWOK)


def test_kwok_touches_only_nodes_of_the_crowd() -> None:
    args = deployment()["spec"]["template"]["spec"]["containers"][0]["args"]
    (selector,) = [arg.partition("=")[2] for arg in args if arg.startswith("--manage-nodes-with-label-selector=")]
    key, _, value = selector.partition("=")
    assert NODE["metadata"]["labels"][key] == value
    assert "--manage-all-nodes=false" in args


def test_a_pod_in_a_hundred_is_what_the_selector_asks_for() -> None:
    key, _, value = crowd.SELECTOR.partition("=")
    pods = [crowd._pod(POD, f"crowd-{number:05}") for number in range(250)]
    assert [pod["metadata"]["name"] for pod in pods if pod["metadata"]["labels"][key] == value] == [
        "crowd-00000",
        "crowd-00100",
        "crowd-00200",
    ]
    assert {pod["spec"]["nodeName"] for pod in pods} == {"crowd-000", "crowd-001", "crowd-002"}


def test_everything_is_in_the_crowds_namespace() -> None:
    spaces = {item["metadata"]["namespace"] for item in [*KWOK, POD] if "namespace" in item["metadata"]}
    names = {item["metadata"]["name"] for item in KWOK if item["kind"] == "Namespace"}
    assert spaces == names == {crowd.NAMESPACE}
