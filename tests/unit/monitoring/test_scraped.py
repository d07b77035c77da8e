"""What our Prometheus scrapes: everything that the parameters install, where they install it, and nothing else."""

from __future__ import annotations

from typing import Any

import yaml

from vllm_runbook import params
from vllm_runbook.steps import observability

ADDED = {"kube-state-metrics", "dcgm-exporter", "gateway"}


def jobs(platform: str = "sandbox", **overrides: Any) -> dict[str, dict[str, Any]]:
    loaded = params.load(platform, "qwen3-8b", overrides)
    (config,) = (item for item in observability.objects(loaded) if item["kind"] == "ConfigMap")
    return {job["job_name"]: job for job in yaml.safe_load(config["data"]["prometheus.yml"])["scrape_configs"]}


def targets(job: dict[str, Any]) -> list[str]:
    (fixed,) = job["static_configs"]
    return list(fixed["targets"])


def test_what_is_in_front_of_the_servers_is_scraped_where_it_is() -> None:
    found = jobs()
    assert found.keys() == {"vllm", "router", "keda-operator"} | ADDED
    spaces = [found[name]["kubernetes_sd_configs"][0]["namespaces"]["names"] for name in ("vllm", "router")]
    assert spaces[0] == spaces[1] == ["llm", "llm-naive", "llm-models"]
    assert targets(found["gateway"]) == ["gateway.gateway-system.svc.cluster.local:9091"]
    moved = jobs(**{"canary.gateway.namespace": "edge", "autoscaling.namespace": "scalers"})
    assert targets(moved["gateway"]) == ["gateway.edge.svc.cluster.local:9091"]
    assert targets(moved["keda-operator"]) == ["keda-operator.scalers.svc.cluster.local:8080"]


def test_what_somebody_else_installs_is_theirs_to_scrape() -> None:
    theirs = {
        "canary.gateway.install": "existing",
        "monitoring.state_metrics": "existing",
        "monitoring.dcgm_exporter": "existing",
    }
    assert jobs(**theirs).keys() == {"vllm", "router", "keda-operator"}
    assert "gateway" not in jobs(canary=None)
