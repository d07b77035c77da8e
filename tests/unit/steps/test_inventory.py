"""What the notebooks leave in place, computed: on every platform, in order, and known to permissions and teardown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vllm_runbook import charts, params
from vllm_runbook.cluster import Object, Ref, ref_of
from vllm_runbook.params import Platform
from vllm_runbook.permissions import LASTING, TITLES, permissions
from vllm_runbook.steps import device_plugin, teardown
from vllm_runbook.steps.inventory import STEPS, Inventory, inventory

PLATFORMS = sorted(file.stem for file in (Path(__file__).parents[3] / "params" / "platforms").glob("*.yaml"))
#: Without a chart, which needs the network.
FROM_MANIFESTS = {"device_plugin.mode": "manifest", "autoscaling.install": "manifest"}


@pytest.fixture(autouse=True)
def no_helm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts, "find", lambda _name: None)


def found(platform: str, model: str = "qwen3-8b", **overrides: Any) -> Inventory:
    return inventory(params.load(platform, model, {**FROM_MANIFESTS, **overrides}))


def refs(items: Inventory) -> set[str]:
    return {str(ref_of(item)) for item in items.objects}


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_object_is_there_once_and_the_notebooks_are_in_order(platform: str) -> None:
    items = found(platform)
    assert [entry.notebook for entry in items] == sorted(entry.notebook for entry in items)
    assert {entry.notebook for entry in items} <= set(TITLES)
    twice = [name for name, count in Counter(map(ref_of, items.objects)).items() if count > 1]
    assert not twice


@pytest.mark.parametrize("platform", PLATFORMS)
def test_what_a_notebook_leaves_it_may_make_and_teardown_removes(platform: str) -> None:
    loaded = params.load(platform, "qwen3-8b", FROM_MANIFESTS)
    undo = granted("10_teardown", loaded.platform)
    for entry in inventory(loaded):
        item = entry.object
        assert item["kind"] in teardown.KINDS
        make, what = granted(entry.notebook, loaded.platform), resource(item)
        spaces = {item["metadata"].get("namespace", ""), ""}
        for verbs, having in (("get create patch", make), ("get list watch delete", undo)):
            for verb in verbs.split():
                assert any((verb, *what, space) in having for space in spaces), f"{verb} {entry}"


def granted(notebook: str, platform: Platform) -> set[tuple[str, str, str, str]]:
    """Verb, plural, group and namespace of a notebook's permissions."""
    return {(rule.verb, rule.resource, rule.group, rule.namespace) for rule in permissions(notebook, platform)}


def resource(item: Object) -> tuple[str, str]:
    """Plural and group of a kind."""
    group, _, _ = item["apiVersion"].rpartition("/")
    kind = item["kind"].lower()
    if kind.endswith("y") and not kind.endswith("way"):
        return f"{kind[:-1]}ies", group
    return (f"{kind}es" if kind.endswith("s") else f"{kind}s", group)


def test_each_object_is_named_a_few_times_and_not_once_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[Object] = []

    def counted(item: Object) -> Ref:
        named.append(item)
        return ref_of(item)

    monkeypatch.setattr("vllm_runbook.steps.inventory.ref_of", counted)
    items = found("sandbox")
    assert len(items) <= len(named) <= 3 * len(items)


def test_the_platforms_leave_different_things() -> None:
    assert "DaemonSet llm/prefetch-weights" in refs(found("k3s"))
    assert {"PersistentVolumeClaim llm/model-weights-fill", "VolumeSnapshot llm/model-weights"} <= refs(found("gke"))
    assert "Deployment llm/vllm-inference-spot" in refs(found("eks")) - refs(found("k3s"))
    assert "NodePool spot" in refs(found("sandbox")) and "NodePool spot" not in refs(found("eks"))


def test_what_can_not_be_computed_is_said() -> None:
    items = found("k3s", "llama-3.1-8b-instruct", **{"autoscaling.install": "helm"})
    told = {(each.notebook, each.what): each.why for each in items.missing}
    assert "there is no helm" in told["06_autoscaling", "chart keda 2.21.0 of https://kedacore.github.io/charts"]
    assert "HF_TOKEN" in told["03_storage_weights", "Secret llm/hf-token"]
    assert "spot is null" in told["08_spot", "servers on spot nodes"]
    assert ("02_label_gpu_nodes", "label hardware-type=nvidia-gpu of the GPU nodes") in told
    assert not any("Secret" in name for name in refs(items))


def test_it_has_every_notebook_that_leaves_something() -> None:
    """Permissions of notebook 12 and of this list come from one."""
    assert tuple(STEPS) == LASTING
    assert {entry.notebook for entry in found("sandbox")} == set(LASTING) - {"02_label_gpu_nodes"}  # labels, no objects


def test_only_the_notebooks_asked_for() -> None:
    loaded = params.load("sandbox", "tiny")
    items = inventory(loaded, ["07_disruption"])
    assert refs(items) == {"PodDisruptionBudget llm/vllm-inference"} and not items.missing


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_image_comes_through_the_mirror(platform: str) -> None:
    items = found(platform, **{"images.mirror": "mirror.example"})
    pulled = [image for item in items.objects for image in images(item)]
    assert len(pulled) >= 6 and all(image.startswith("mirror.example/") for image in pulled), pulled


def images(item: Any) -> Iterator[str]:
    """Of every container, wherever in an object it stands."""
    for kind in ("containers", "initContainers"):
        for container in item.get(kind, ()) if isinstance(item, dict) else ():
            if isinstance(container, dict) and "image" in container:
                yield container["image"]
    for inner in item.values() if isinstance(item, dict) else item if isinstance(item, list) else ():
        yield from images(inner)


@pytest.mark.parametrize("platform", [name for name in PLATFORMS if name != "k3s"])
def test_what_runs_on_every_gpu_node_runs_on_spot_nodes_too(platform: str) -> None:
    """Or their GPUs would never be advertised."""
    loaded = params.load(platform, "qwen3-8b", FROM_MANIFESTS).platform
    assert loaded.spot is not None
    (plugin,) = device_plugin.objects(loaded)
    keys = [each["key"] for each in plugin["spec"]["template"]["spec"]["tolerations"]]
    assert {each.key for each in loaded.spot.taints} <= set(keys)
