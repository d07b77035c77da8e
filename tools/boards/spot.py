"""Nodes that come and go, and what they cost."""

from __future__ import annotations

from .panel import Board, Panel

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
