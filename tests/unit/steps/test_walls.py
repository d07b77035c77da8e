"""What protects the servers, from the parameters alone."""

from __future__ import annotations

from typing import Any

from vllm_runbook import params, sizing
from vllm_runbook.cluster import get_in
from vllm_runbook.params import Params
from vllm_runbook.steps import deploy, protection

DIGEST = f"sha256:{'a' * 64}"


def load(platform: str = "sandbox", **overrides: Any) -> Params:
    return params.load(platform, "qwen3-8b", {name.replace("__", "."): value for name, value in overrides.items()})


def peers(**overrides: Any) -> list[dict[str, Any]]:
    (policy,) = protection.server_policy(load(**overrides).platform)
    return list(policy["spec"]["ingress"][0]["from"])


def test_who_reaches_the_servers() -> None:
    load_generator, prometheus, gateway = peers()
    assert load_generator == {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "load"}}}
    assert "prometheus-server" in str(prometheus["podSelector"]) and "monitoring" in str(prometheus)
    assert (
        gateway["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": "gateway"}}
        and len(peers(canary=None)) == 2
    )
    assert "podSelector" not in peers(metrics__install="existing")[1]  # whose pods are called we don't know how
    more = peers(network__clients=["gateway"], network__control_plane=["10.0.0.0/24"])[2:]
    assert more.pop(1) == gateway
    assert more == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "gateway"}}},
        {"ipBlock": {"cidr": "10.0.0.0/24"}},
    ]
    without = load(network__policies=False).platform
    assert protection.server_policy(without) == [] == protection.prefetch_policy(without)


def test_the_prefetch_reaches_the_hubs_port() -> None:
    def port(endpoint: str) -> Any:
        (policy,) = protection.prefetch_policy(load(hub__endpoint=endpoint).platform)
        return policy["spec"]["egress"][1]["ports"]

    assert port("https://huggingface.co") == [{"port": 443, "protocol": "TCP"}]
    assert port("http://hub.sandbox.internal")[0]["port"] == 80
    assert port("https://mirror.example.com:8443/hf")[0]["port"] == 8443


def test_the_key_comes_from_the_secret_that_the_platform_names() -> None:
    def variables(**overrides: Any) -> dict[str, Any]:
        loaded = load(**overrides)
        item = deploy.deployment(loaded, sizing.size(loaded))
        return {each["name"]: each for each in get_in(item, "spec.template.spec.containers[0].env")}

    source = variables(api_key__secret__name="team-key")["VLLM_API_KEY"]["valueFrom"]
    assert source == {"secretKeyRef": {"name": "team-key", "key": "key"}}
    assert "VLLM_API_KEY" not in variables(api_key__enabled=False)


def test_an_image_by_digest_stays_as_it_is() -> None:
    loaded = load(images__vllm=f"vllm/vllm-openai@{DIGEST}", images__runbook=f"ghcr.io/x/runbook:1.0@{DIGEST}")
    item = deploy.deployment(loaded, sizing.size(loaded))
    assert get_in(item, "spec.template.spec.containers[0].image") == f"vllm/vllm-openai@{DIGEST}"


def test_pod_security_levels_follow_from_the_storage() -> None:
    assert protection.pod_security(load().platform)[0] == "restricted"
    level, why = protection.pod_security(load("k3s").platform)
    assert (level, "hostPath" in why) == ("privileged", True)
    rows = {row[0]: row[1] for row in protection.levels(load().platform).rows}
    assert rows["monitoring"] == rows["keda"] == rows["crowd"] == "restricted"
    assert rows["llm-naive"].startswith("none") and rows["kube-system"] == "not ours"
