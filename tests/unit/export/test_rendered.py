"""Every platform's tree and chart, rendered by the real programs: exactly the objects that the notebooks apply."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from vllm_runbook.cluster import Object, get_in, marked, ref_of
from vllm_runbook.export import Contents, Request, make, write
from vllm_runbook.export.render import render, unlike
from vllm_runbook.steps.inventory import inventory
from vllm_sandbox import binaries

PLATFORMS = tuple(sorted(file.stem for file in (Path(__file__).parents[3] / "params" / "platforms").glob("*.yaml")))
#: Without charts of others, which need the network.
FROM_MANIFESTS = {"device_plugin.mode": "manifest", "autoscaling.install": "manifest"}
FORMS = ("kustomize", "helm")


@pytest.fixture(scope="module", autouse=True)
def programs() -> None:
    binaries.ensure("kubectl")
    binaries.ensure("helm")


@pytest.fixture(scope="module")
def all_platforms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, list[Contents]]]:
    """Both exports of all platforms at once."""
    return {form: exported(tmp_path_factory.mktemp(form), form, PLATFORMS) for form in FORMS}


def exported(
    directory: Path, form: str, platforms: Sequence[str], model: str = "qwen3-8b", **overrides: Any
) -> tuple[Path, list[Contents]]:
    request = Request(form, tuple(platforms), model, {**FROM_MANIFESTS, **overrides})
    files, contents = make(request)
    write(directory, request, files)
    return directory, contents


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_platform_of_many_is_rendered_as_the_notebooks_apply_it(
    all_platforms: dict[str, tuple[Path, list[Contents]]], form: str, platform: str
) -> None:
    directory, contents = all_platforms[form]
    (wanted,) = (each for each in contents if each.platform == platform)
    assert [item.object for item in wanted.items] == [
        marked(entry.object, entry.notebook) for entry in inventory(wanted.params)
    ]
    assert unlike(render(directory, form, platform), wanted) == []


@pytest.mark.parametrize("form", FORMS)
def test_a_single_platform_needs_neither_patches_nor_values_of_its_own(tmp_path: Path, form: str) -> None:
    directory, (wanted,) = exported(tmp_path, form, ["gke"])
    assert unlike(render(directory, form, "gke"), wanted) == []
    assert not list(directory.glob("overlays/**/patches"))
    if form == "helm":
        assert (directory / "values-gke.yaml").read_text().endswith("{}\n")
        assert "\nother:" not in (directory / "values.yaml").read_text()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("model", ["llama-3.1-70b-instruct", "gpt-oss-20b"])
def test_other_models_and_overrides(tmp_path: Path, form: str, model: str) -> None:
    fields = {"namespace": "answers", "metrics.discovery": "annotations", "autoscaling.min_replicas": "0"}
    directory, contents = exported(tmp_path, form, ["eks", "k3s"], model, **fields)
    for wanted in contents:
        assert unlike(render(directory, form, wanted.platform), wanted) == []


@pytest.mark.parametrize("form", FORMS)
def test_istios_way_in_and_a_registry_where_the_platforms_name_them(tmp_path: Path, form: str) -> None:
    istio = {"canary.engine": "istio", "canary.gateway.install": "existing", "canary.gateway.create": "false"}
    istio["canary.gateway.hostname"] = "llm.example.com"
    directory, contents = exported(tmp_path, form, ["eks", "aks"], registry="default", **istio)
    for wanted in contents:
        items = render(directory, form, wanted.platform)
        assert unlike(items, wanted) == []
        names = {str(ref_of(item)) for item in items}
        assert {"VirtualService llm/inference", "Deployment llm-models/model-router"} <= names
        assert any(each.what == "Istio" for each in wanted.missing)


ODD = [
    "--chat-template={{ messages[0].content }}{% if x %}…{% endif %}",
    '--override-generation-config={"temperature": 0.6}',
    "--stop=$(HOME) ${HOME} %s `date`",
    "y",
    "NO",
    "null",
    "~",
    "1e3",
    "0x1F",
    "0o17",
    "1_000",
    "12:30:45",
    "2026-01-02",
    "a: b # c",
    "- x",
    "'\"\\",
    "two\nlines\n",
    " space before\n\n  and after \n",
    "tab\tand bell \u2028 é 模型 🚀",
    "{{/* */}}",
    "*anchor &alias !tag %directive @at",
    "",
]


@pytest.mark.parametrize("form", FORMS)
def test_odd_strings_survive_yaml_and_templates(tmp_path: Path, form: str) -> None:
    directory, contents = exported(tmp_path, form, ["sandbox", "eks"], "tiny", **{"extra_args": ODD})
    for wanted in contents:
        items = render(directory, form, wanted.platform)
        assert unlike(items, wanted) == []
        args = get_in(deployment(items), "spec.template.spec.containers[0].args")
        assert args[-len(ODD) :] == ODD


def deployment(items: list[Object], name: str = "vllm-inference") -> Object:
    (found,) = (item for item in items if item["kind"] == "Deployment" and item["metadata"]["name"] == name)
    return found


class TestChart:
    """What users do with its values."""

    def test_what_they_change_arrives(self, all_platforms: dict[str, tuple[Path, list[Contents]]]) -> None:
        directory, _ = all_platforms["helm"]
        changes = {
            "vllm.image": "example.com/vllm:v1",
            "autoscaling.maxReplicas": "3",
            "storage.class": "fast",
            "disruptionBudget.maxUnavailable": "2",
        }
        items = render(directory, "helm", "eks", *(f"--set={name}={value}" for name, value in changes.items()))
        by_name = {(item["kind"], item["metadata"]["name"]): item for item in items}
        for name in ("vllm-inference", "vllm-inference-spot"):
            assert get_in(deployment(items, name), "spec.template.spec.containers[0].image") == "example.com/vllm:v1"
        assert by_name["ScaledObject", "vllm-inference"]["spec"]["maxReplicaCount"] == 3
        assert by_name["PersistentVolumeClaim", "model-weights"]["spec"]["storageClassName"] == "fast"
        assert by_name["PodDisruptionBudget", "vllm-inference"]["spec"]["maxUnavailable"] == 2

    def test_layers_and_components_can_be_left_out(self, all_platforms: dict[str, tuple[Path, list[Contents]]]) -> None:
        directory, contents = all_platforms["helm"]
        (eks,) = (each for each in contents if each.platform == "eks")
        off = ["--set=layers.infrastructure=false", "--set=layers.serving=false"]
        assert {ref_of(item) for item in render(directory, "helm", "eks", *off)} == {
            item.key[1] for item in eks.of("weights")
        }
        without = render(directory, "helm", "eks", "--set=components.spot=false", "--set=components.keda=false")
        names = {f"{item['kind']} {item['metadata']['name']}" for item in without}
        assert "Deployment vllm-inference" in names
        assert not any("spot" in name or "keda" in name for name in names)

    def test_the_way_in_and_the_models_can_be_left_out(
        self, all_platforms: dict[str, tuple[Path, list[Contents]]]
    ) -> None:
        directory, contents = all_platforms["helm"]
        (sandbox,) = (each for each in contents if each.platform == "sandbox")
        off = [f"--set=components.{name}=false" for name in ("gateway", "route", "models")]
        left = {ref_of(item) for item in render(directory, "helm", "sandbox", *off)}
        gone = {"11_canary", "13_multi_model"}
        assert left == {item.key[1] for item in sandbox.items if item.notebook not in gone}
        assert {item.notebook for item in sandbox.items} > gone

    def test_annotations_of_layers_jobs_and_claims(self, all_platforms: dict[str, tuple[Path, list[Contents]]]) -> None:
        directory, _ = all_platforms["helm"]
        options = [f"--set=annotations.{name}.where={name}" for name in ("infrastructure", "serving", "job")]
        options.append("--set=annotations.weights.layer=weights")
        items = render(directory, "helm", "sandbox", *options)
        for item in items:
            annotations = item["metadata"]["annotations"]
            if item["kind"] == "Job":
                assert annotations == {"where": "job", "layer": "weights"}
            elif item["kind"] == "CustomResourceDefinition":
                assert annotations["where"] == "infrastructure" and len(annotations) > 1
        assert deployment(items)["metadata"]["annotations"] == {"where": "serving"}
        pod = deployment(items)["spec"]["template"]["metadata"]
        assert "annotations" not in pod


def test_argo_cds_overlay_adds_annotations_and_nothing_else(
    all_platforms: dict[str, tuple[Path, list[Contents]]], tmp_path: Path
) -> None:
    directory, contents = all_platforms["kustomize"]
    (gke,) = (each for each in contents if each.platform == "gke")
    layer_of = {item.key[1]: item.layer for item in gke.items}
    (tmp_path / "overlays").symlink_to(directory / "argocd")  # render() looks into overlays/
    items = render(tmp_path, "kustomize", "gke")
    waves = {"infrastructure": "-2", "weights": "-1", "serving": "0"}
    for item in items:
        annotations = item["metadata"]["annotations"]
        assert annotations.pop("argocd.argoproj.io/sync-wave") == waves[layer_of[ref_of(item)]]
        options = annotations.pop("argocd.argoproj.io/sync-options", None)
        kinds = {
            "Job": "Force=true,Replace=true",
            **dict.fromkeys(("PersistentVolumeClaim", "VolumeSnapshot"), "Prune=false,Delete=false"),
        }
        assert options == kinds.get(item["kind"])
        if not annotations:
            del item["metadata"]["annotations"]
    assert unlike(items, gke) == []
