"""What the autoscaler reads and does."""

from __future__ import annotations

from .panel import SPACES, Board, Panel

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
