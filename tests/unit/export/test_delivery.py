"""Argo CD's and Flux's manifests, against the published schemas; and the order that they keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from vllm_runbook.export import Request, make

from .schemas import strict

SCHEMAS = Path(__file__).parents[2] / "data" / "schemas"
FROM_MANIFESTS = {"device_plugin.mode": "manifest", "autoscaling.install": "manifest"}
PLATFORMS = ("sandbox", "k3s", "gke")


def schemas() -> dict[tuple[str, str], Any]:
    found = {}
    for file in ("argocd-application.yaml", "flux.yaml", "flux-helm.yaml"):
        for crd in yaml.safe_load_all((SCHEMAS / file).read_text()):
            for version in crd["spec"]["versions"]:
                key = (f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"])
                found[key] = strict(version["schema"]["openAPIV3Schema"])
                found[key]["properties"]["metadata"] = {"type": "object"}
    return found


def manifests(form: str, *, repo: str = Request.repo, path: str = ".") -> dict[str, list[dict[str, Any]]]:
    """Manifests of all platforms, by file."""
    files, _ = make(Request(form, PLATFORMS, "qwen3-8b", FROM_MANIFESTS, repo=repo, path=path))
    wanted = (name for name in files if name.startswith("flux/") or name.endswith("-application.yaml"))
    return {name: list(yaml.safe_load_all(files[name])) for name in wanted}


@pytest.mark.parametrize("form", ["kustomize", "helm"])
def test_they_are_valid(form: str) -> None:
    known, seen = schemas(), set()
    for name, items in manifests(form).items():
        for item in items:
            key = (item["apiVersion"], item["kind"])
            jsonschema.validate(item, known[key], cls=jsonschema.Draft202012Validator)
            seen.add((name.partition("/")[0], item["kind"]))
    kinds = {"kustomize": "Kustomization", "helm": "HelmRelease"}
    assert seen == {("argocd", "Application"), ("flux", "GitRepository"), ("flux", kinds[form])}


def test_the_schemas_notice_a_typo() -> None:
    (item,) = manifests("kustomize")["argocd/gke-application.yaml"]
    item["spec"]["syncPolicy"]["syncOption"] = []
    with pytest.raises(jsonschema.ValidationError, match="syncOption"):
        jsonschema.validate(item, schemas()[item["apiVersion"], "Application"])


@pytest.mark.parametrize("form", ["kustomize", "helm"])
def test_they_lead_to_the_tree(form: str) -> None:
    files, _ = make(Request(form, PLATFORMS, "qwen3-8b", FROM_MANIFESTS))
    for name, items in manifests(form, repo="https://example.com/r.git", path="apps/vllm").items():
        for item in items:
            spec = item["spec"]
            if item["kind"] == "GitRepository":
                assert spec["url"] == "https://example.com/r.git" and spec["ref"] == {"branch": "main"}
            elif item["kind"] == "Application":
                assert spec["source"]["repoURL"] == "https://example.com/r.git"
                folder = spec["source"]["path"].removeprefix("apps/vllm").strip("/")
                assert (f"{folder}/kustomization.yaml" if form == "kustomize" else "Chart.yaml") in files
            elif item["kind"] == "Kustomization":
                assert spec["path"].removeprefix("./apps/vllm/") + "/kustomization.yaml" in files
            else:
                chart = spec["chart"]["spec"]
                assert chart["chart"] == "./apps/vllm"
                assert {file.removeprefix("apps/vllm/") for file in chart["valuesFiles"]} <= set(files), name


@pytest.mark.parametrize("form", ["kustomize", "helm"])
def test_flux_takes_one_layer_after_the_other(form: str) -> None:
    _, infrastructure, weights, serving = manifests(form)["flux/gke.yaml"]
    assert "dependsOn" not in infrastructure["spec"]
    assert weights["spec"]["dependsOn"] == [{"name": "vllm-gke-infrastructure"}]
    assert serving["spec"]["dependsOn"] == [{"name": "vllm-gke-weights"}]
    deadline = {"kustomize": "wait", "helm": "timeout"}
    assert all(deadline[form] in item["spec"] for item in (infrastructure, weights, serving))


def test_only_the_job_is_made_anew_and_claims_stay() -> None:
    _, _, weights, serving = manifests("kustomize")["flux/gke.yaml"]
    assert "force" not in weights["spec"]
    patches = {each["target"]["kind"]: yaml.safe_load(each["patch"]) for each in weights["spec"]["patches"]}
    assert patches["Job"]["metadata"]["annotations"] == {"kustomize.toolkit.fluxcd.io/force": "enabled"}
    claims = "PersistentVolumeClaim|VolumeSnapshot"
    assert patches[claims]["metadata"]["annotations"] == {"kustomize.toolkit.fluxcd.io/prune": "disabled"}
    assert [each["target"]["kind"] for each in serving["spec"]["patches"]] == [claims]


def test_helm_waits_for_the_hook_and_not_for_a_claim_that_waits_for_it() -> None:
    _, infrastructure, weights, _ = manifests("helm")["flux/gke.yaml"]
    assert weights["spec"]["install"]["disableWait"] and "disableWait" not in infrastructure["spec"]["install"]
    assert weights["spec"]["values"]["layers"] == {"infrastructure": False, "weights": True, "serving": False}
    assert weights["spec"]["values"]["annotations"]["job"]["helm.sh/hook"] == "post-install,post-upgrade"


def test_argo_cd_applies_as_the_runbook_does_and_leaves_the_replicas_alone() -> None:
    for form in ("kustomize", "helm"):
        (item,) = manifests(form)["argocd/sandbox-application.yaml"]
        options = item["spec"]["syncPolicy"]["syncOptions"]
        assert {"ServerSideApply=true", "CreateNamespace=false", "RespectIgnoreDifferences=true"} <= set(options)
        assert "automated" not in item["spec"]["syncPolicy"]
        (ignored,) = item["spec"]["ignoreDifferences"]
        assert (ignored["kind"], ignored["jsonPointers"]) == ("Deployment", ["/spec/replicas"])
