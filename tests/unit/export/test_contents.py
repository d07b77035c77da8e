"""What is exported, in which layer, and what never is."""

from __future__ import annotations

from typing import Any

import pytest

from vllm_runbook import charts, params
from vllm_runbook.cluster import get_in
from vllm_runbook.errors import RunbookError
from vllm_runbook.export import Contents, Request, contents, make
from vllm_runbook.export.contents import LAYERS
from vllm_runbook.permissions import permissions
from vllm_runbook.permissions.locking import lock

FROM_MANIFESTS = {"device_plugin.mode": "manifest", "autoscaling.install": "manifest"}


def found(platform: str, model: str = "qwen3-8b", **overrides: Any) -> Contents:
    return contents(params.load(platform, model, {**FROM_MANIFESTS, **overrides}))


def names(items: Contents, layer: str) -> set[str]:
    return {str(item.key[1]) for item in items.of(layer)}


def test_servers_come_after_the_weights_and_those_after_the_cluster() -> None:
    items = found("sandbox")
    assert items.layers == list(LAYERS)
    assert {"Namespace llm", "Deployment keda/keda-operator", "PriorityClass vllm-serving"} <= names(
        items, "infrastructure"
    )
    weights = names(items, "weights")
    assert {each for each in weights if " llm/" in each} == {
        "PersistentVolumeClaim llm/model-weights",
        "Job llm/prefetch-weights",
    }
    assert {"Deployment llm/vllm-inference", "ScaledObject llm/vllm-inference", "NodePool spot"} <= names(
        items, "serving"
    )


def test_the_way_in_and_a_registrys_models_are_in_it() -> None:
    items = found("sandbox")
    assert {"GatewayClass sandbox", "Gateway gateway-system/inference", "HTTPRoute llm/inference"} <= names(
        items, "serving"
    )
    assert {
        "CustomResourceDefinition httproutes.gateway.networking.k8s.io",
        "Deployment gateway-system/gateway",
        "Namespace llm-models",
    } <= names(items, "infrastructure")
    weights = {each for each in names(items, "weights") if " llm-models/" in each}
    assert len(weights) == 6 and "PersistentVolumeClaim llm-models/model-weights" in weights
    servers = {
        f"Deployment llm-models/model-{name}" for name in ("qwen3-8b", "mistral-7b-instruct-v0-3", "gpt-oss-20b")
    }
    assert servers | {"Deployment llm-models/model-router", "Service llm-models/models"} <= names(items, "serving")
    kinds = {item.object["kind"] for item in items.items if item.notebook == "11_canary"}
    assert "HTTPRoute" in kinds
    (route,) = (item.object for item in items.items if item.object["kind"] == "HTTPRoute")
    (rule,) = route["spec"]["rules"]
    assert [each["name"] for each in rule["backendRefs"]] == ["inference"], "at rest"


def test_what_of_both_is_not_exported_is_told() -> None:
    files, (with_both, without) = make(Request("kustomize", ("sandbox", "eks"), "tiny", FROM_MANIFESTS))
    told = {each.what: each.why for each in with_both.missing}
    assert "Secret llm-models/vllm-api-key" in told
    wanted = {"a way in": "canary is null", "models of a registry": "registry is null"}
    for what, words in wanted.items():
        assert what not in told
        (why,) = (each.why for each in without.missing if each.what == what)
        assert words in why and f"- {what}: {why}" in files["README.md"]
    assert "- Secret llm-models/vllm-api-key: " in files["README.md"]


def test_the_readme_waits_for_every_prefetch() -> None:
    for form in ("kustomize", "helm"):
        files, _ = make(Request(form, ("sandbox",), "tiny", FROM_MANIFESTS))
        (own,) = (line for line in files["README.md"].splitlines() if line.startswith("kubectl -n llm wait"))
        (models,) = (line for line in files["README.md"].splitlines() if line.startswith("kubectl -n llm-models wait"))
        assert own.count("job/") == 1 and models.count("job/") == 5 and "job/prefetch-qwen3-8b " in models
    files, _ = make(Request("kustomize", ("k3s",), "tiny", FROM_MANIFESTS))
    assert "kubectl -n llm rollout status daemonset/prefetch-weights" in files["README.md"]


def test_a_registry_that_can_not_be_served_there_is_an_error() -> None:
    with pytest.raises(RunbookError, match="k3s: the models of registry default can't be exported") as caught:
        found("k3s", registry="default")
    assert "storage.strategy shared" in caught.value.why and "registry=null" in caught.value.next_step
    assert found("k3s", registry="null").items


def test_a_copy_is_made_when_the_disk_is_filled() -> None:
    items = found("gke")
    assert names(items, "weights") == {"PersistentVolumeClaim llm/model-weights-fill", "Job llm/prefetch-weights"}
    assert {"VolumeSnapshot llm/model-weights", "PersistentVolumeClaim llm/model-weights"} <= names(items, "serving")


def test_weights_on_nodes() -> None:
    assert names(found("k3s"), "weights") == {"DaemonSet llm/prefetch-weights"}


@pytest.mark.parametrize("platform", ["sandbox", "k3s", "eks", "gke", "aks"])
def test_custom_resources_never_come_with_their_definitions(platform: str) -> None:
    items = found(platform)
    defined = {
        get_in(item.object, "spec.names.kind")
        for item in items.items
        if item.object["kind"] == "CustomResourceDefinition"
    }
    assert not {item.object["kind"] for item in items.of("infrastructure")} & defined


@pytest.mark.parametrize("platform", ["sandbox", "eks"])
def test_the_autoscaler_owns_the_replicas(platform: str) -> None:
    items = found(platform)
    scaled = {
        get_in(item.object, "spec.scaleTargetRef.name") for item in items.items if item.object["kind"] == "ScaledObject"
    }
    models = {f"model-{name}" for name in ("qwen3-8b", "mistral-7b-instruct-v0-3", "gpt-oss-20b")}
    assert scaled == {"vllm-inference", "vllm-inference-spot"} | (models if platform == "sandbox" else set())
    for item in items.items:
        if item.object["kind"] == "Deployment" and item.object["metadata"]["name"] in scaled:
            assert "replicas" not in item.object["spec"]


def test_secrets_are_told_and_never_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_sesame")
    for form in ("kustomize", "helm"):
        files, (items,) = make(Request(form, ("sandbox",), "llama-3.1-8b-instruct", FROM_MANIFESTS))
        assert not any("kind: Secret\n" in text or "hf_sesame" in text for text in files.values())
        assert "Secret llm/hf-token: meta-llama/Llama-3.1-8B-Instruct is gated" in files["README.md"]
        assert any(each.what == "Secret llm/hf-token" for each in items.missing)


def test_only_some_notebooks() -> None:
    files, (items,) = make(Request("kustomize", ("sandbox",), "tiny", FROM_MANIFESTS, ("07_disruption",)))
    assert names(items, "serving") == {"PodDisruptionBudget llm/vllm-inference"} and items.layers == ["serving"]
    assert not any("weights/" in name for name in files)


def test_a_chart_that_can_not_be_rendered_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts, "find", lambda _name: None)
    with pytest.raises(RunbookError, match="eks: chart .*can't be exported") as caught:
        make(Request("kustomize", ("eks",), "qwen3-8b", {"autoscaling.install": "helm"}))
    assert "autoscaling.install=manifest" in str(caught.value)


def test_a_platform_twice() -> None:
    with pytest.raises(RunbookError, match="named twice"):
        make(Request("kustomize", ("sandbox", "sandbox"), "tiny"))


@pytest.mark.parametrize("platform", ["sandbox", "k3s", "eks", "gke", "aks"])
def test_notebook_12_may_read_and_apply_in_a_dry_run_what_it_compares(platform: str) -> None:
    items = found(platform)
    granted = permissions("12_gitops", items.params.platform)
    having = {(rule.verb, rule.resource, rule.group, rule.namespace) for rule in granted}
    assert not {rule.verb for rule in set(granted) - set(lock(items.params.platform))} & {
        "delete",
        "deletecollection",
        "update",
        "watch",
        "list",
    }
    for item in items.items:
        kind, group = item.object["kind"].lower(), item.object["apiVersion"].rpartition("/")[0]
        if kind.endswith("y") and not kind.endswith("way"):
            plural = f"{kind.removesuffix('y')}ies"
        else:
            plural = f"{kind}es" if kind.endswith("s") else f"{kind}s"
        for verb in ("get", "create", "patch"):
            spaces = (item.object["metadata"].get("namespace", ""), "")
            assert any((verb, plural, group, space) in having for space in spaces), f"{verb} {item.key}"
