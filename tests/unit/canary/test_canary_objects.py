"""The canary's objects: what differs from the stable version, and nothing else; routes of both engines."""

from __future__ import annotations

from typing import Any

import pytest

from vllm_runbook import params, sizing
from vllm_runbook.cluster import Object, get_in
from vllm_runbook.params import Params
from vllm_runbook.params.errors import ParamsError
from vllm_runbook.steps import canary, deploy, protection

ISTIO = {"canary.engine": "istio", "canary.gateway.install": "existing", "canary.gateway.create": "false"}
ISTIO["canary.gateway.hostname"] = "llm.example.com"


def load(**overrides: Any) -> Params:
    return params.load("sandbox", "tiny", overrides)


def route(weight: int | None, **overrides: Any) -> list[Object]:
    found = load(**overrides)
    return canary.route(found, sizing.size(found), weight)


def test_the_canary_is_the_stable_deployment_with_what_is_new() -> None:
    found = load(**{"canary.args": "--max-num-seqs=32 --enable-prefix-caching", "canary.model_path": "/models/new"})
    size = sizing.size(found)
    stable, new = deploy.deployment(found, size), canary.deployment(found, size, 2)
    path = "spec.template.spec.containers[0]"
    before, after = get_in(stable, f"{path}.args"), get_in(new, f"{path}.args")
    assert after[0] == "/models/new" and after[-2:] == ["--max-num-seqs=32", "--enable-prefix-caching"]
    assert [each for each in before[1:] if not each.startswith("--max-num-seqs=")] == after[1:-2]
    assert get_in(new, f"{path}.image") == "vllm/vllm-openai:v0.33.0" and new["spec"]["replicas"] == 2
    for item in (stable, new):
        container = get_in(item, path)
        del container["args"], container["image"], item["metadata"], item["spec"]["selector"]
        del item["spec"]["template"]["metadata"]["labels"]
    del new["spec"]["replicas"]
    assert stable == new, "probes, resources, security, volumes, key: all as they are"


def test_its_pods_are_not_behind_the_stable_service_and_guarded_alike() -> None:
    found = load()
    size = sizing.size(found)
    labels = get_in(canary.deployment(found, size), "spec.template.metadata.labels")
    (service,) = (item for item in deploy.objects(found, size) if item["kind"] == "Service")
    assert not service["spec"]["selector"].items() <= labels.items()
    own, _ = canary.objects(found, size)
    assert own["spec"]["selector"].items() <= labels.items()
    (policy,) = protection.server_policy(found.platform)
    (expression,) = policy["spec"]["podSelector"]["matchExpressions"]
    component = labels["app.kubernetes.io/component"]
    assert component in expression["values"] and "inference" in expression["values"]
    assert {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "gateway-system"}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "gateway"}},
    } in policy["spec"]["ingress"][0]["from"]


@pytest.mark.parametrize("weight", [0, 5, 50, 100])
def test_the_route_has_both_weights_and_a_way_for_who_asks(weight: int) -> None:
    (item,) = route(weight)
    asked, everybody = item["spec"]["rules"]
    weights = {each["name"]: each["weight"] for each in everybody["backendRefs"]}
    assert weights == {"inference": 100 - weight, "inference-canary": weight}
    assert [each["name"] for each in asked["backendRefs"]] == ["inference-canary"]
    (match,) = asked["matches"]
    assert match["path"]["value"] == "/v1" and match["headers"][0] == {
        "type": "Exact",
        "name": "x-canary",
        "value": "always",
    }


def test_at_rest_there_is_the_stable_service_alone() -> None:
    (item,) = route(None)
    assert [each["name"] for rule in item["spec"]["rules"] for each in rule["backendRefs"]] == ["inference"]
    service, rule = route(None, **ISTIO)
    assert [each["destination"]["host"] for each in service["spec"]["http"][0]["route"]] == ["inference"]
    assert rule["spec"]["host"] == "inference"


def test_istio_has_the_same_weights_and_tries_nothing_again() -> None:
    service, *rules = route(25, **ISTIO)
    asked, everybody = service["spec"]["http"]
    weights = {each["destination"]["host"]: each["weight"] for each in everybody["route"]}
    assert weights == {"inference": 75, "inference-canary": 25}
    assert asked["match"][0]["headers"] == {"x-canary": {"exact": "always"}}
    assert all(each["retries"] == {"attempts": 0} for each in (asked, everybody))
    assert service["spec"]["hosts"] == ["llm.example.com"]
    assert [each["spec"]["host"] for each in rules] == ["inference", "inference-canary"]


@pytest.mark.parametrize(("weight", "stable", "wanted"), [(5, 1, 1), (25, 8, 2), (50, 3, 2), (100, 3, 3), (1, 0, 1)])
def test_replicas_follow_the_share(weight: int, stable: int, wanted: int) -> None:
    assert canary.replicas_for(weight, stable) == wanted


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"canary.steps": "[5, 50]"}, "steps must rise and end with 100"),
        ({"canary.steps": "[50, 5, 100]"}, "steps must rise"),
        ({"canary.steps": "[0, 100]"}, "steps"),
        ({"canary.image": "vllm/vllm-openai:latest"}, "name a version"),
        ({"canary.engine": "istio"}, "no Istio objects"),
        ({**ISTIO, "canary.gateway.create": "true"}, "gateway.create false"),
        ({**ISTIO, "canary.gateway.hostname": "null"}, "needs gateway.hostname"),
        ({"canary.gates.stall_seconds": "0"}, "stall_seconds"),
        ({"canary.gates.max_error_rate": "2"}, "max_error_rate"),
        ({"canary.step_timeout_seconds": "2"}, "below step_seconds"),
        ({"canary.model_path": "elsewhere"}, "model_path"),
    ],
)
def test_what_makes_no_sense_is_refused(overrides: dict[str, str], words: str) -> None:
    with pytest.raises(ParamsError, match=words):
        load(**overrides)
