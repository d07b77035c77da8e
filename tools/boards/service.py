"""What users of the servers see, and what stands behind it."""

from __future__ import annotations

from .panel import SPACES, Board, Panel

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
                "By reason. Abort is no success, in spite of the metric's name: the server ended before the answer "
                "did. Clients that leave are in no counter.",
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
