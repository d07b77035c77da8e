"""On every platform: what the notebooks make is accepted, and its pods go to the right nodes and to no others."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from conftest import Cluster
from vllm_runbook import cluster as k8s
from vllm_runbook import sizing as sizes
from vllm_runbook.cluster import changed
from vllm_runbook.params import Params
from vllm_runbook.steps import canary, deploy, spot, storage_classes, weights
from vllm_runbook.steps.inventory import inventory

from .conftest import ROOT, begin, create, load
from .looks import LOOKS

POD = "spec.template.spec"
#: A snapshot needs its driver: the copy of the filled disk is cloned here instead, and the snapshot only checked.
CLONED = {"storage.copy_by": "clone"}


def scheduling(platform: str) -> Params:
    return load(platform, **(CLONED if load(platform).platform.storage.copy_by else {}))


def test_the_api_server_accepts_everything(platform: str, bare: Cluster) -> None:
    """Every object as server-side apply would make it; a field that its kind doesn't have is refused."""
    loaded = load(platform, namespace="llm")
    items = inventory(loaded)
    assert len(items) >= 35 and not any("chart" in each.what for each in items.missing)
    spaces = {item["metadata"].get("namespace", "") for item in items.objects} - {""}
    there = bare.get("namespaces")["items"]
    leaving = [each["metadata"]["name"] for each in there if "deletionTimestamp" in each["metadata"]]
    if going := spaces & set(leaving):  # the platform before this one had the same
        bare.kubectl("wait", "--for=delete", *(f"namespace/{name}" for name in going), "--timeout=60s")
    made = sorted(spaces - {each["metadata"]["name"] for each in there} | going)
    create(bare, [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in made])
    try:
        server = k8s.connect(loaded.platform)
        for item in items.objects:
            assert server.apply(item, dry_run=True, force=True)["metadata"]["name"] == item["metadata"]["name"]
        with pytest.raises(k8s.ApiError, match="noSuchField"):
            server.apply(changed(items.objects[-1], {"spec.noSuchField": 1}), dry_run=True, force=True)
    finally:
        if made:  # another file's tests may have left them all
            bare.kubectl("delete", "namespace", *made)  # gone: the next platform makes them anew


def test_routes_with_a_canary_are_accepted_in_both_dialects(bare: Cluster) -> None:
    """The Gateway API's and Istio's own definitions; a field that they don't have is refused."""
    istio = {"canary.engine": "istio", "canary.gateway.install": "existing", "canary.gateway.create": "false"}
    istio["canary.gateway.hostname"] = "llm.example.com"
    for overrides in ({}, istio):
        loaded = load("sandbox", namespace="default", **overrides)
        server, sizing = k8s.connect(loaded.platform), sizes.size(loaded)
        for weight in (None, 0, 25, 100):
            for item in canary.route(loaded, sizing, weight):
                assert server.apply(item, dry_run=True, force=True)["spec"]
        (route, *_) = canary.route(loaded, sizing, 25)
        rules = "http" if overrides else "rules"
        with pytest.raises(k8s.ApiError, match="noSuchField"):
            server.apply(changed(route, {f"spec.{rules}[0].noSuchField": 1}), dry_run=True, force=True)


@pytest.mark.parametrize("cloud", ["eks", "gke", "aks"])
def test_the_example_classes_are_valid_and_can_do_what_is_needed(bare: Cluster, cloud: str) -> None:
    """Their drivers' access modes are known from the drivers' documentation."""
    items = list(yaml.safe_load_all((ROOT / f"manifests/storage/{cloud}.yaml").read_text()))
    server = k8s.connect(load(cloud).platform)
    for item in items:
        server.apply(changed(item, {"metadata.name": "example"}), dry_run=True)
    (able,) = [storage_classes.modes(item) for item in items if item["kind"] == "StorageClass"]
    assert {need.mode for need in storage_classes.needs(load(cloud).platform)} <= set(able or ())


def test_pods_go_to_the_right_nodes(platform: str, bare: Cluster) -> None:
    """The weights by notebook 03, then one server more than there are free GPUs of the right kind on demand."""
    loaded = scheduling(platform)
    there = Cluster(bare.name, bare.kubeconfig, loaded.platform.namespace)
    book = begin("03_storage_weights", loaded)
    book.apply(weights.plan_namespace(book))
    book.apply(weights.plan(book))
    weights.wait_filled(book, weights.Follower())
    book.apply(weights.plan_copy(book))
    weights.wait_copied(book)
    on = nodes_of(there, f"app.kubernetes.io/name={weights.JOB}")
    assert on <= where_weights_may_be_written(platform), on

    sizing = sizes.size(loaded)
    *others, server = deploy.objects(loaded, sizing)
    there.apply([*others, server])
    there.wait(f"pod/{one_of(there, deploy.PODS)}", "condition=PodScheduled")
    assert nodes_of(there, deploy.PODS) == {f"{platform}-gpu"}
    settings = loaded.platform.spot
    if settings is not None:
        there.apply(spot.deployment(loaded, sizing))
        labels = f"app.kubernetes.io/name={spot.NAME}"
        there.wait(f"pod/{one_of(there, labels)}", "condition=PodScheduled")
        assert nodes_of(there, labels) == {f"{platform}-spot"}
    full = changed(server, {"metadata.name": "one-more", "spec.template.metadata.labels.extra": "yes"})
    full = changed(full, {"spec.selector.matchLabels.extra": "yes"})
    there.apply(full)
    told = unschedulable(there, "extra=yes")
    assert "Insufficient nvidia.com/gpu" in told
    if "small" in LOOKS[platform].types:
        assert "node affinity" in told, "smaller GPUs are free, and not taken"
    there.kubectl("delete", "deployments", "--all")
    there.kubectl("delete", "pods", "--all", "--grace-period=0", "--force")


def where_weights_may_be_written(platform: str) -> set[str]:
    """A GPU node where the strategy says so, else one without taints."""
    storage = load(platform).platform.storage
    if storage.strategy == "per_node" or storage.fill_on == "gpu_nodes":
        return {f"{platform}-gpu"}
    tainted = {*LOOKS[platform].taints} | ({"gpu", "spot", "small"} if "gpus" in LOOKS[platform].taints else set())
    return {f"{platform}-{role}" for role in {*LOOKS[platform].types} - tainted}


def one_of(cluster: Cluster, labels: str) -> str:
    cluster.kubectl("wait", "--for=create", "pod", "-l", labels, "--timeout=30s")
    return str(cluster.get("pods", "", "-l", labels)["items"][0]["metadata"]["name"])


def nodes_of(cluster: Cluster, labels: str) -> set[str]:
    return {pod["spec"].get("nodeName", "") for pod in cluster.get("pods", "", "-l", labels)["items"]}


def unschedulable(cluster: Cluster, labels: str) -> str:
    """What the scheduler says of a pod that stays pending."""
    name = one_of(cluster, labels)
    cluster.wait(f"pod/{name}", 'jsonpath={.status.conditions[?(@.type=="PodScheduled")].reason}=Unschedulable', 30)
    (said,) = [each for each in cluster.get("pod", name)["status"]["conditions"] if each["type"] == "PodScheduled"]
    return str(said["message"])


def test_what_is_wrong_for_the_platform_stays_pending(platform: str, bare: Cluster) -> None:
    """Servers without their tolerations where GPU nodes are tainted; else a claim that its class can't do."""
    loaded = scheduling(platform)
    there = Cluster(bare.name, bare.kubeconfig, loaded.platform.namespace)
    spoilt: dict[str, dict[str, Any]] = {
        "gke": {f"{POD}.tolerations": None},
        "aks": {f"{POD}.tolerations": [each for each in tolerations(loaded) if each["key"] != "sku"]},
        "sandbox": {f"{POD}.tolerations": None, f"{POD}.nodeSelector": {"karpenter.sh/capacity-type": "spot"}},
    }
    if platform in spoilt:
        server = deploy.deployment(loaded, sizes.size(loaded))
        labels = {"metadata.name": "spoilt", "spec.template.metadata.labels.spoilt": "yes"}
        labels["spec.selector.matchLabels.spoilt"] = "yes"
        there.apply(changed(server, {**labels, **spoilt[platform]}))
        assert "untolerated taint" in unschedulable(there, "spoilt=yes")
        there.kubectl("delete", "deployment", "spoilt")
    else:
        name = {"eks": "gp3", "k3s": "local-path"}[platform]
        claim = {"spec.accessModes": ["ReadWriteMany"], "spec.storageClassName": name, "metadata.name": "spoilt"}
        (wanted,) = [item for item in weights.objects(scheduling("eks"), sizes.size(loaded)) if is_claim(item)]
        job = weights.prefetch_job(loaded, sizes.size(loaded), "spoilt")
        there.apply(
            [
                changed(wanted, {"metadata.namespace": there.namespace, **claim}),
                changed(job, {"metadata.name": "spoilt"}),
            ]
        )
        there.kubectl("wait", "--for=create", "events", "--field-selector=reason=ProvisioningFailed", "--timeout=30s")
        (event, *_) = there.get("events", "", "--field-selector=reason=ProvisioningFailed")["items"]
        assert (
            wanted["kind"] == event["involvedObject"]["kind"]
            and "MULTI_NODE_MULTI_WRITER not supported" in event["message"]
        )
        assert there.get("pvc", "spoilt")["status"]["phase"] == "Pending"
        there.kubectl("delete", "job/spoilt", "pvc/spoilt", "--wait=false")


def tolerations(loaded: Params) -> list[dict[str, Any]]:
    return [each.manifest() for each in loaded.platform.gpu.tolerations]


def is_claim(item: dict[str, Any]) -> bool:
    return bool(item["kind"] == "PersistentVolumeClaim")
