"""A registry's objects: notebook 04's for each model, under names of their own, and one table of routes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from vllm_runbook import params
from vllm_runbook.cluster import get_in
from vllm_runbook.errors import RunbookError
from vllm_runbook.params import Params
from vllm_runbook.router.routes import Routes
from vllm_runbook.steps import deploy, observability, router, served_models
from vllm_runbook.steps.inventory import inventory

SERVER = "spec.template.spec.containers[0]"


@pytest.fixture
def ours() -> Params:
    return params.load("sandbox", "tiny")


def written(directory: Path, text: str, **overrides: Any) -> Params:
    file = directory / "mine.yaml"
    file.write_text(f"name: mine\nmodels:\n{text}")
    return params.load("sandbox", "tiny", {"registry": str(file), **overrides})


def kinds(items: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {item["metadata"]["name"]: item for item in items if item["kind"] == kind}


def test_each_model_is_notebook_04s_deployment_with_its_own_name(ours: Params) -> None:
    plain = deploy.deployment(params.load("sandbox", "qwen3-8b"), served_models.servers(ours)[0].sizing)
    item = kinds(served_models.server_objects(ours), "Deployment")["model-qwen3-8b"]
    assert item["metadata"]["namespace"] == "llm-models"
    assert "replicas" not in item["spec"]
    labels = item["spec"]["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/name"] == "model-qwen3-8b" and labels["app.kubernetes.io/component"] == "inference"
    assert item["spec"]["selector"]["matchLabels"].items() <= labels.items()
    probes = ("startupProbe", "readinessProbe", "livenessProbe")
    for path in (*probes, "securityContext", "lifecycle", "volumeMounts", "resources", "env"):
        ours_has, plain_has = (get_in(each, f"{SERVER}.{path}") for each in (item, plain))
        assert ours_has, path
        assert ours_has == plain_has, path
    args = " ".join(get_in(item, f"{SERVER}.args"))
    assert args.startswith("/models/Qwen/Qwen3-8B --served-model-name qwen3-8b chat --port=8000 ")
    adapters = "/models/adapters/sandbox"
    assert args.endswith(
        "--enable-lora --max-loras=2 --max-lora-rank=32 --lora-modules "
        f"qwen3-8b-sql={adapters}/qwen3-8b-sql-lora qwen3-8b-support={adapters}/qwen3-8b-support-lora"
    )


def test_services_and_budgets_select_one_model(ours: Params) -> None:
    items = served_models.server_objects(ours)
    for name, item in kinds(items, "Service").items():
        assert item["spec"]["selector"] == {"app.kubernetes.io/name": name} and re.fullmatch("[a-z][a-z0-9-]*", name)
    assert set(kinds(items, "Service")) == set(kinds(items, "Deployment"))
    # a budget of a model at zero would guard nothing
    assert set(kinds(items, "PodDisruptionBudget")) == {"model-qwen3-8b", "model-mistral-7b-instruct-v0-3"}
    (policy,) = kinds(items, "NetworkPolicy").values()
    peers = policy["spec"]["ingress"][0]["from"]
    assert {"podSelector": {"matchLabels": {"app.kubernetes.io/component": "router"}}} in peers


def test_one_volume_and_a_job_for_each_model_and_adapter(ours: Params) -> None:
    items = served_models.weight_objects(ours)
    (claim,) = kinds(items, "PersistentVolumeClaim").values()
    own = sum(server.sizing.storage.claim_bytes for server in served_models.servers(ours)) // 2**30
    assert claim["spec"]["resources"]["requests"]["storage"] == f"{own + 1}Gi" and own > 0
    jobs = kinds(items, "Job")
    targets = [get_in(job, f"{SERVER}.args")[-1].removeprefix("--target=") for job in jobs.values()]
    assert len(jobs) == 5 and len(set(targets)) == 5
    assert "/models/Qwen/Qwen3-8B" in targets and "/models/adapters/sandbox/qwen3-8b-sql-lora" in targets
    for job in jobs.values():  # the prefetch's NetworkPolicy holds for all of them
        assert get_in(job, "spec.template.metadata.labels[app.kubernetes.io/name]") == "prefetch-weights"


def test_the_registry_may_say_how_large_the_volume_is(tmp_path: Path) -> None:
    sizes = []
    for text in ("  - model: tiny\n", "  - model: tiny\nvolume_size: 77Gi\n"):
        items = served_models.weight_objects(written(tmp_path, text, **{"storage.size": "55Gi"}))
        (claim,) = kinds(items, "PersistentVolumeClaim").values()
        sizes.append(claim["spec"]["resources"]["requests"]["storage"])
    assert sizes == ["55Gi", "77Gi"]


def test_weights_that_servers_do_not_share_are_refused() -> None:
    with pytest.raises(RunbookError, match="storage.strategy shared"):
        served_models.weight_objects(params.load("k3s", "tiny", {"registry": "default"}))


def test_a_cold_model_is_woken_by_what_the_router_holds(ours: Params) -> None:
    scalers = kinds(served_models.scaled_objects(ours), "ScaledObject")
    cold = scalers["model-gpt-oss-20b"]["spec"]
    assert (cold["minReplicaCount"], cold["maxReplicaCount"], cold["cooldownPeriod"]) == (0, 2, 15)
    (trigger,) = cold["triggers"]
    query, labels = trigger["metadata"]["query"], '{namespace="llm-models",model="gpt-oss-20b"}'
    assert query.startswith(f"sum(vllm_runbook_router_pending_requests{labels}) + ")
    assert query.endswith(" or vector(0))") and query.count("or vector(0)") == 1
    assert trigger["metadata"]["activationThreshold"] == "0" and trigger["metadata"]["ignoreNullValues"] == "false"
    warm = scalers["model-qwen3-8b"]["spec"]
    assert (warm["minReplicaCount"], warm["maxReplicaCount"], warm["cooldownPeriod"]) == (1, 2, 60)
    assert warm["scaleTargetRef"]["name"] == "model-qwen3-8b"
    assert 'model_name="qwen3-8b"' in warm["triggers"][0]["metadata"]["query"]
    assert "router" not in warm["triggers"][0]["metadata"]["query"]


def test_the_routers_table(ours: Params) -> None:
    items = router.objects(ours)
    text = kinds(items, "ConfigMap")["model-router"]["data"]["routes.json"]
    table = Routes.model_validate_json(text)
    assert [card.id for card in table.models] == [
        *("qwen3-8b", "chat", "qwen3-8b-sql", "qwen3-8b-support"),
        *("mistral-7b-instruct-v0.3", "gpt-oss-20b"),
    ]
    base = table.backend_of("qwen3-8b-sql")
    assert base and base.url == "http://model-qwen3-8b.llm-models.svc.cluster.local:8000" and base.hold_seconds == 10
    cold = table.backend_of("gpt-oss-20b")
    assert cold and cold.hold_seconds == 600
    pod = kinds(items, "Deployment")["model-router"]["spec"]["template"]
    assert observability.CONFIG_HASH in pod["metadata"]["annotations"]
    assert pod["spec"]["containers"][0]["env"][0]["valueFrom"]["secretKeyRef"]["name"] == "vllm-api-key"


def test_another_table_starts_other_routers(tmp_path: Path) -> None:
    def digest(text: str) -> str:
        item = kinds(router.objects(written(tmp_path, text)), "Deployment")["model-router"]
        return str(get_in(item, f"spec.template.metadata.annotations[{observability.CONFIG_HASH}]"))

    plain = "  - model: tiny\n"
    assert digest(plain) == digest(plain) != digest(f"{plain}    hold_seconds: 5\n")


def test_without_key_and_policies_there_is_neither(tmp_path: Path) -> None:
    without = {"api_key.enabled": False, "network.policies": False}
    own = written(tmp_path, "  - model: tiny\n", **without)

    def items(own: Params) -> list[dict[str, Any]]:
        return [*served_models.server_objects(own), *router.objects(own), *served_models.weight_objects(own)]

    assert not kinds(items(own), "NetworkPolicy") and "VLLM_API_KEY" not in json.dumps(items(own))
    with_both = items(written(tmp_path, "  - model: tiny\n"))
    assert len(kinds(with_both, "NetworkPolicy")) == 3 and json.dumps(with_both).count("VLLM_API_KEY") == 2


def test_a_model_can_ask_for_certain_nodes(tmp_path: Path) -> None:
    nodes = "{labels: {gpu-class: large}, tolerations: [{key: dedicated, operator: Equal, value: llm}]}"
    own = written(tmp_path, f"  - model: tiny\n    nodes: {nodes}\n")
    spec = kinds(served_models.server_objects(own), "Deployment")["model-tiny"]["spec"]["template"]["spec"]
    terms = get_in(spec, "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms")
    assert {"key": "gpu-class", "operator": "In", "values": ["large"]} in terms[0]["matchExpressions"]
    assert {"key": "dedicated", "operator": "Equal", "value": "llm", "effect": "NoSchedule"} in spec["tolerations"]


def test_jobs_of_adapters_with_odd_names_stay_apart(tmp_path: Path) -> None:
    pair = "[{name: Team/SQL, repo: a/b}, {name: team-sql, repo: a/c}, {name: team.sql, repo: a/d}]"
    own = written(tmp_path, f"  - model: tiny\n    adapters: {pair}\n")
    names = set(kinds(served_models.weight_objects(own), "Job"))
    assert len(names) == 4 and all(re.fullmatch("[a-z0-9-]{1,63}", name) for name in names)


def test_the_inventory_has_them_where_a_registry_is_named(ours: Params) -> None:
    found = inventory(ours, ["13_multi_model"])
    assert {item["metadata"].get("namespace") for item in found.objects} == {"llm-models", None}
    assert "Secret" not in {item["kind"] for item in found.objects}
    assert inventory(params.load("eks", "tiny"), ["13_multi_model"]) == []
