"""Makes the Grafana dashboards in manifests/monitoring: ``python tools/dashboards.py``; ``--check`` only compares.

They are built with Grafana's own types (grafana-foundation-sdk, generated from the schemas of Grafana's sources), so a
field that a panel doesn't have can't be written. What the rules record is asked by that name.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import DataSourceRef, LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)

FOLDER = Path(__file__).parents[1] / "manifests" / "monitoring" / "dashboards"
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
#: The namespaces with servers.
SPACES = 'namespace=~"$namespace"'


@dataclass(frozen=True)
class Panel:
    """A curve, or a number (``number``).

    Attributes:
        queries: legend to PromQL; a legend may name labels.
        unit: Grafana's id of it.
        limit: PromQL of the alert's threshold, drawn as one more curve.
    """

    title: str
    about: str
    unit: str
    queries: dict[str, str]
    limit: str = ""
    number: bool = False
    top: float | None = None


@dataclass(frozen=True)
class Board:
    """One dashboard: rows of panels by their titles."""

    name: str
    title: str
    about: str
    rows: dict[str, tuple[Panel, ...]]


SERVICE = Board(
    "vllm-service",
    "vLLM service",
    "What users of the servers see, and what stands behind it.",
    {
        "Objectives": (
            Panel(
                "Budget burnt: TTFT",
                "How many times faster than allowed the error budget of the time to first token goes; above 14.4 it "
                "pages (docs/alerts.md).",
                "none",
                {
                    window: f'namespace:vllm_slo_errors:ratio_rate{window}{{slo="ttft", {SPACES}}} '
                    "/ on (slo) group_left () runbook:slo:budget"
                    for window in ("5m", "1h", "6h", "3d")
                },
            ),
            Panel(
                "Budget burnt: availability",
                "The same for requests that end in an error, are aborted or refused.",
                "none",
                {
                    window: f'namespace:vllm_slo_errors:ratio_rate{window}{{slo="availability", {SPACES}}} '
                    "/ on (slo) group_left () runbook:slo:budget"
                    for window in ("5m", "1h", "6h", "3d")
                },
            ),
        ),
        "Users": (
            Panel(
                "Time to first token",
                "From a request's arrival to its first token, its time in the queue included.",
                "s",
                {
                    f"p{q}": f"histogram_quantile(0.{q}, sum by (le) "
                    f"(rate(vllm:time_to_first_token_seconds_bucket{{{SPACES}}}[$__rate_interval])))"
                    for q in (50, 95, 99)
                },
                limit="runbook:slo:ttft_seconds",
            ),
            Panel(
                "Time between tokens",
                "What a reader of a streamed answer sees.",
                "s",
                {
                    f"p{q}": f"histogram_quantile(0.{q}, sum by (le) "
                    f"(rate(vllm:inter_token_latency_seconds_bucket{{{SPACES}}}[$__rate_interval])))"
                    for q in (50, 95, 99)
                },
            ),
            Panel(
                "Requests finished",
                "By reason. Abort is no success, in spite of the metric's name: the client left, or the server ended.",
                "reqps",
                {
                    "{{finished_reason}}": "sum by (finished_reason) "
                    f"(rate(vllm:request_success_total{{{SPACES}}}[$__rate_interval]))",
                    "refused: {{reason}}": "sum by (reason) "
                    f"(rate(vllm:admission_rejections_total{{{SPACES}}}[$__rate_interval]))",
                },
            ),
            Panel(
                "Tokens",
                "Read and generated, all replicas.",
                "none",
                {
                    "prompt": f"sum(rate(vllm:prompt_tokens_total{{{SPACES}}}[$__rate_interval]))",
                    "generated": f"sum(rate(vllm:generation_tokens_total{{{SPACES}}}[$__rate_interval]))",
                },
            ),
        ),
        "Servers": (
            Panel(
                "Running and waiting",
                "Requests in the batches and in the queues.",
                "none",
                {
                    "running": f"sum(namespace:vllm_running:sum{{{SPACES}}})",
                    "waiting": f"sum(namespace:vllm_waiting:sum{{{SPACES}}})",
                },
            ),
            Panel(
                "Waiting for each server",
                "What the alert VllmQueueGrowing looks at.",
                "none",
                {"{{namespace}}": f"namespace:vllm_waiting:sum{{{SPACES}}} / namespace:vllm_servers:count"},
                limit="runbook:threshold:waiting_per_replica",
            ),
            Panel(
                "KV cache",
                "Share of the cache that is used, by server. A queue beside a full cache wants larger GPUs; beside an "
                "idle one, more pods.",
                "percentunit",
                {"{{pod}}": f"vllm:kv_cache_usage_perc{{{SPACES}}}"},
                limit="runbook:threshold:kv_cache_usage",
                top=1,
            ),
            Panel(
                "Preemptions a minute",
                "Running requests that lost their blocks and are computed again.",
                "none",
                {"{{namespace}}": f"namespace:vllm_preemptions:rate5m{{{SPACES}}} * 60"},
                limit="runbook:threshold:preemptions_per_minute",
            ),
        ),
    },
)

AUTOSCALING = Board(
    "vllm-autoscaling",
    "vLLM autoscaling",
    "What KEDA reads, what the HPA makes of it, and what becomes of the pods.",
    {
        "Replicas": (
            Panel(
                "Wanted and there",
                "The HPA's wish, its bounds, and the replicas that are ready.",
                "none",
                {
                    "wanted": f"sum(kube_horizontalpodautoscaler_status_desired_replicas{{{SPACES}}})",
                    "least": f"sum(kube_horizontalpodautoscaler_spec_min_replicas{{{SPACES}}})",
                    "most": f"sum(kube_horizontalpodautoscaler_spec_max_replicas{{{SPACES}}})",
                    "{{deployment}} ready": f"kube_deployment_status_replicas_ready{{{SPACES}}}",
                },
            ),
            Panel(
                "Pods with GPUs by phase",
                "Pending ones wait for a node, an image or a volume.",
                "none",
                {
                    "{{phase}}": f"sum by (phase) (kube_pod_status_phase{{{SPACES}}} "
                    "and on (namespace, pod) namespace_pod_container:gpus:sum)"
                },
            ),
        ),
        "What it scales by": (
            Panel(
                "The trigger's value",
                "As KEDA gives it to the HPA. 0 while requests wait is a query without series (ignoreNullValues).",
                "none",
                {
                    "{{scaledObject}}": "sum by (scaledObject) "
                    f'(keda_scaler_metrics_value{{type="scaledobject", {SPACES}}})',
                    "running and waiting": f"sum(namespace:vllm_running:sum{{{SPACES}}}) "
                    f"+ sum(namespace:vllm_waiting:sum{{{SPACES}}})",
                },
            ),
            Panel(
                "Time to read it",
                "Latency of KEDA's question to Prometheus.",
                "s",
                {"{{scaledObject}}": f"keda_scaler_metrics_latency_seconds{{{SPACES}}}"},
            ),
            Panel(
                "Errors of triggers",
                "Questions that failed.",
                "ops",
                {
                    "{{scaledObject}}": "sum by (scaledObject) "
                    f"(rate(keda_scaler_detail_errors_total{{{SPACES}}}[$__rate_interval]))"
                },
            ),
            Panel(
                "The HPA's conditions",
                "ScalingActive false: no metric. ScalingLimited true: at a bound.",
                "none",
                {
                    "{{condition}} is {{status}}": "max by (condition, status) "
                    f"(kube_horizontalpodautoscaler_status_condition{{{SPACES}}} == 1)"
                },
            ),
        ),
    },
)

GPUS = Board(
    "gpus",
    "GPUs",
    "By NVIDIA's DCGM exporter, its default counters.",
    {
        "Load": (
            Panel(
                "Utilization",
                "Share of time in which a kernel ran; it says nothing of how full the GPU was meanwhile.",
                "percent",
                {"{{Hostname}} {{gpu}}": "max by (Hostname, gpu) (DCGM_FI_DEV_GPU_UTIL)"},
                limit="runbook:threshold:gpu_idle_percent",
                top=100,
            ),
            Panel(
                "Memory used",
                "vLLM takes its share at once and keeps it: look at the KV cache for what is used of that.",
                "percentunit",
                {
                    "{{Hostname}} {{gpu}}": "max by (Hostname, gpu) "
                    "(DCGM_FI_DEV_FB_USED / (DCGM_FI_DEV_FB_USED + DCGM_FI_DEV_FB_FREE))"
                },
                limit="1 - runbook:threshold:gpu_memory_free_share",
                top=1,
            ),
        ),
        "Health": (
            Panel(
                "Temperature",
                "Near its limit a GPU lowers its clocks.",
                "celsius",
                {"{{Hostname}} {{gpu}}": "max by (Hostname, gpu) (DCGM_FI_DEV_GPU_TEMP)"},
                limit="runbook:threshold:gpu_temperature_celsius",
            ),
            Panel(
                "SM clock",
                "Falls when idle, hot, or at the power limit.",
                "none",
                {"{{Hostname}} {{gpu}} MHz": "max by (Hostname, gpu) (DCGM_FI_DEV_SM_CLOCK)"},
            ),
            Panel(
                "Power",
                "What the boards draw.",
                "watt",
                {"{{Hostname}} {{gpu}}": "max by (Hostname, gpu) (DCGM_FI_DEV_POWER_USAGE)"},
            ),
            Panel(
                "Last XID error",
                "0: none since the exporter started (docs/alerts.md#gpuxiderror).",
                "none",
                {"{{Hostname}} {{gpu}}": "max by (Hostname, gpu) (DCGM_FI_DEV_XID_ERRORS)"},
            ),
            Panel(
                "Rows remapped",
                "Memory rows that were replaced; one that can't be is an alert.",
                "none",
                {
                    "uncorrectable": "sum(DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS)",
                    "correctable": "sum(DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS)",
                    "failed": "sum(DCGM_FI_DEV_ROW_REMAP_FAILURE)",
                },
            ),
            Panel(
                "Energy",
                "Since yesterday, all GPUs.",
                "kwatth",
                {"kWh": "sum(increase(DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION[1d])) / 3.6e9"},
                number=True,
            ),
        ),
    },
)

SPOT = Board(
    "spot-and-cost",
    "Spot and cost",
    "Nodes that come and go, budgets of disruption, and what the GPUs cost. Prices are the platform's (spot.prices).",
    {
        "Cost": (
            Panel(
                "GPUs by capacity",
                "Of all nodes: they are paid for, whether or not a pod uses them.",
                "none",
                {"{{capacity}}": "runbook:gpus:count", "given to pods": "sum(runbook:gpus_allocated:count)"},
            ),
            Panel(
                "GPU-hours a day",
                "At the average of the last day.",
                "none",
                {"{{capacity}}": "avg_over_time(runbook:gpus:count[1d]) * 24"},
                limit="runbook:threshold:gpu_hours_per_day",
            ),
            Panel(
                "Cost an hour",
                "In the currency of the prices. Nothing is shown without prices.",
                "none",
                {"{{capacity}}": "runbook:gpu_cost:per_hour", "all": "sum(runbook:gpu_cost:per_hour)"},
            ),
            Panel(
                "Cost of a million generated tokens",
                "All GPUs, over the tokens of the last five minutes; endless while nobody asks.",
                "none",
                {
                    "per million": "sum(runbook:gpu_cost:per_hour) "
                    "/ (sum(namespace:vllm_generated_tokens:rate5m) * 3600 / 1e6)"
                },
            ),
        ),
        "Disruption": (
            Panel(
                "Spot nodes",
                "There now, and gone within the hour.",
                "none",
                {
                    "there": "count(runbook:spot_nodes:info) or vector(0)",
                    "gone": "(count(count by (node) (last_over_time(runbook:spot_nodes:info[1h]))) or vector(0)) "
                    "- (count(runbook:spot_nodes:info) or vector(0))",
                },
                limit="runbook:threshold:nodes_lost_per_hour",
            ),
            Panel(
                "Evictions that budgets allow",
                "0 for long: drains wait.",
                "none",
                {"{{namespace}} {{poddisruptionbudget}}": "kube_poddisruptionbudget_status_pod_disruptions_allowed"},
            ),
            Panel(
                "Nodes that take no pods",
                "Cordoned, by somebody or by a drain.",
                "none",
                {"nodes": "sum(kube_node_spec_unschedulable)"},
                number=True,
            ),
            Panel(
                "Restarts",
                "Of containers with GPUs, within an hour.",
                "none",
                {
                    "{{namespace}} {{pod}}": "sum by (namespace, pod) ("
                    "increase(kube_pod_container_status_restarts_total[1h]) "
                    "and on (namespace, pod, container) namespace_pod_container:gpus:sum)"
                },
            ),
        ),
    },
)

BOARDS = (SERVICE, AUTOSCALING, GPUS, SPOT)


def query(legend: str, expression: str) -> prometheus.Dataquery:
    """One question; Grafana names it (A, B, …) itself."""
    return prometheus.Dataquery().datasource(SOURCE).expr(expression).legend_format(legend).range()


def curve(panel: Panel) -> timeseries.Panel:
    """A panel with curves, the alert's threshold last."""
    made = (
        timeseries.Panel()
        .line_width(1)
        .fill_opacity(8)
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
        )
    )
    made = made.min(0)
    if panel.top is not None:
        made = made.max(panel.top)
    return made


def number(_panel: Panel) -> stat.Panel:
    """A panel with the newest value."""
    steps = [Threshold(value=None, color="blue")]
    return stat.Panel().thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))


def draw(panel: Panel) -> timeseries.Panel | stat.Panel:
    made = number(panel) if panel.number else curve(panel)
    made = made.title(panel.title).description(panel.about).datasource(SOURCE).unit(panel.unit).height(8).span(12)
    asked = {**panel.queries, **({"alert": panel.limit} if panel.limit else {})}
    for letter, (legend, expression) in zip("ABCDEF", asked.items(), strict=False):
        made = made.with_target(query(legend, expression).ref_id(letter))
    return made


def board(spec: Board) -> dashboard.Dashboard:
    """A whole dashboard."""
    made = (
        dashboard.Dashboard(spec.title)
        .uid(f"runbook-{spec.name}")
        .description(spec.about)
        .tags(["vllm", "vllm-runbook"])
        .editable()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("browser")
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )
    if any(SPACES in text for panels in spec.rows.values() for each in panels for text in each.queries.values()):
        made = made.with_variable(
            dashboard.QueryVariable("namespace")
            .label("Namespace")
            .datasource(SOURCE)
            .query("label_values(vllm:num_requests_running, namespace)")
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .include_all(True)
            .all_value(".+")
            .multi(True)
        )
    for title, panels in spec.rows.items():
        made = made.with_row(dashboard.Row(title))
        for panel in panels:
            made = made.with_panel(draw(panel))
    return made


def text(spec: Board) -> str:
    """The dashboard as JSON."""
    built = board(spec).build()
    for variable in built.templating.list_val or ():
        variable.auto = None  # of intervals only: Grafana's own types have it nowhere else
    return JSONEncoder(sort_keys=True, indent=1).encode(built) + "\n"


def main(arguments: list[str]) -> int:
    different = 0
    for spec in BOARDS:
        file, made = FOLDER / f"{spec.name}.json", text(spec)
        if file.is_file() and file.read_text(encoding="utf-8") == made:
            continue
        different += 1
        if "--check" not in arguments:
            file.write_text(made, encoding="utf-8")
        print(f"{'would change' if '--check' in arguments else 'wrote'} {file.name}")
    return int(bool(different) and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
