"""What is promised to users, and when somebody is to be told: objectives of a model, thresholds of a platform."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from .names import Image
from .schema import Strict

#: Upper bounds in seconds of vLLM's histogram vllm:time_to_first_token_seconds, as recorded from the real server: an
#: objective between two of them can't be measured.
TTFT_BOUNDS = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5),
    *(10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)


def _bucket(seconds: float) -> float:
    if seconds not in TTFT_BOUNDS:
        raise ValueError(f"must be a bound of vLLM's histogram: {', '.join(f'{bound:g}' for bound in TTFT_BOUNDS)}")
    return seconds


Share = Annotated[float, Field(gt=0, lt=1, description="a share between 0 and 1, such as 0.99")]
Above = Annotated[float, Field(gt=0)]


class Slo(Strict):
    """What users of a model are promised, over 30 days.

    ``ttft_objective`` of the requests have their first token within ``ttft_seconds``; ``availability_objective`` of
    them end neither in an error nor aborted nor refused.
    """

    ttft_seconds: Annotated[float, AfterValidator(_bucket)] = 2.5
    ttft_objective: Share = 0.95
    availability_objective: Share = 0.99


class Thresholds(Strict):
    """When an alert fires. Null: what compares with it never fires.

    ``waiting_per_replica`` requests in the queue for each server; ``kv_cache_usage`` of the fullest cache, 0 to 1;
    ``failed_share`` of the requests of five minutes; ``gpu_memory_free_share`` of a GPU's memory; ``gpu_idle_percent``
    of utilization, over an hour; ``nodes_lost_per_hour`` spot nodes; ``slo_requests`` that there must have been for an
    objective to be judged. ``gpu_temperature_celsius``: what your GPUs' ``nvidia-smi -q -d TEMPERATURE`` says of
    slowdown, less a few degrees.
    """

    waiting_per_replica: Above | None = 5.0
    kv_cache_usage: Share | None = 0.9
    preemptions_per_minute: Above | None = 6.0
    failed_share: Share | None = 0.05
    restarts_per_hour: Above | None = 2.0
    gpu_temperature_celsius: Above | None = 85.0
    gpu_memory_free_share: Share | None = 0.02
    gpu_idle_percent: Above | None = 5.0
    nodes_lost_per_hour: Above | None = 2.0
    gpu_hours_per_day: Above | None = None
    slo_requests: Above | None = 20.0


class Monitoring(Strict):
    """Rules, and where the metrics of nodes and pods (kube-state-metrics) and of GPUs (DCGM exporter) come from.

    ``rules``: whether the alerts are loaded: beside the configuration of our Prometheus, or as a PrometheusRule where
    its operator is (``metrics.discovery`` pod_monitor); for others ``runbook monitoring DIR`` writes them as files.
    ``state_metrics`` and ``dcgm_exporter``: ``manifest`` installs ours beside our Prometheus, which alone scrapes them;
    ``existing`` where the cluster has them, or nobody needs them. ``docs`` comes before the alerts' runbook_url, which
    is a path of this project otherwise.
    """

    rules: bool = True
    state_metrics: Literal["manifest", "existing"] = "existing"
    state_metrics_image: Image = "registry.k8s.io/kube-state-metrics/kube-state-metrics:v2.15.0"
    dcgm_exporter: Literal["manifest", "existing"] = "existing"
    dcgm_exporter_image: Image = "nvcr.io/nvidia/k8s/dcgm-exporter:4.2.3-4.1.3-ubuntu22.04"
    docs: str = ""
    thresholds: Thresholds = Thresholds()
