"""Numbers about spot nodes: the pod's end, the recovery, the price."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from vllm_runbook import params, sizing
from vllm_runbook.cluster import get_in
from vllm_runbook.errors import RunbookError
from vllm_runbook.params import ParamsError
from vllm_runbook.params.spot import Spot
from vllm_runbook.steps import spot, spot_cost
from vllm_runbook.steps.spot_trials import missing, recovery

ZERO = datetime(2026, 1, 1, tzinfo=UTC)


def at(*pairs: tuple[float, int]) -> list[tuple[datetime, int]]:
    return [(ZERO + timedelta(seconds=seconds), count) for seconds, count in pairs]


def test_recovery_is_the_last_time_that_the_full_number_is_reached() -> None:
    ready = at((-5, 3), (2, 2), (10, 3), (12, 2), (21, 3))
    assert recovery(ready, 3, ZERO) == 21
    assert recovery(at((-5, 3)), 3, ZERO) == 0
    assert recovery(at((-5, 3), (4, 4)), 3, ZERO) == 0
    with pytest.raises(ValueError, match="never again 3"):
        recovery(at((-5, 3), (2, 2)), 3, ZERO)


def test_missing_replicas_are_summed_over_time() -> None:
    assert missing(at((-5, 3), (2, 1), (4, 2), (10, 3)), 3, ZERO) == 2 * 2 + 1 * 6


@pytest.mark.parametrize(("platform", "sleep"), [("gke", 8), ("aks", 15), ("eks", 15), ("sandbox", 8)])
def test_the_sleep_before_the_end_leaves_half_of_a_short_notice(platform: str, sleep: int) -> None:
    loaded = params.load(platform, "qwen3-8b", {})
    assert loaded.platform.spot is not None
    assert spot.prestop_seconds(loaded.platform.spot, sizing.size(loaded)) == sleep


@pytest.mark.parametrize("platform", ["gke", "aks", "eks", "sandbox"])
def test_the_burst_runs_on_spot_only_and_tolerates_its_taints(platform: str) -> None:
    loaded = params.load(platform, "qwen3-8b", {})
    settings = loaded.platform.spot
    assert settings is not None
    item = spot.deployment(loaded, sizing.size(loaded))
    pod = item["spec"]["template"]["spec"]
    (term,) = get_in(pod, "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms")
    asked = {each["key"]: each["values"] for each in term["matchExpressions"]}
    assert all(asked[key] == [value] for key, value in settings.labels.items())
    keys = {each["key"] for each in pod["tolerations"]}
    assert "nvidia.com/gpu" in keys and {each.key for each in settings.taints} <= keys
    assert not keys & {"node.kubernetes.io/spot", "node.kubernetes.io/preemptible"}
    labels = item["spec"]["template"]["metadata"]["labels"]
    assert item["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert labels["app.kubernetes.io/component"] == "inference", "or the Service wouldn't find it"
    assert {each["topologyKey"] for each in pod["topologySpreadConstraints"]} >= {"topology.kubernetes.io/zone"}


def test_the_floor_keeps_away_from_spot() -> None:
    from vllm_runbook.steps import deploy

    loaded = params.load("gke", "qwen3-8b", {})
    affinity = deploy.deployment(loaded, sizing.size(loaded))["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    (preferred,) = affinity["preferredDuringSchedulingIgnoredDuringExecution"]
    (away,) = preferred["preference"]["matchExpressions"]
    assert away == {"key": "cloud.google.com/gke-spot", "operator": "NotIn", "values": ["true"]}


def test_prices_that_make_no_sense_are_refused() -> None:
    bad = {"on_demand_per_gpu_hour": 1.0, "spot_per_gpu_hour": 2.0, "interruptions_per_node_month": 1}
    with pytest.raises(ParamsError, match="spot nodes make no sense"):
        params.load("sandbox", "qwen3-8b", {f"spot.prices.{name}": value for name, value in bad.items()})


def test_a_month_has_730_hours() -> None:
    assert spot_cost.monthly(2, 4, 1.5) == 2 * 4 * 1.5 * 730


def test_a_platform_without_spot_nodes_says_so() -> None:
    with pytest.raises(RunbookError, match="no spot nodes"):
        spot.settings(params.load("k3s", "qwen3-8b", {}))


def test_every_platform_with_spot_nodes_has_rules() -> None:
    for name in ("eks", "gke", "aks"):
        settings = params.load(name, "qwen3-8b", {}).platform.spot
        assert isinstance(settings, Spot) and settings.reclaims is None, "real clouds take no orders"
