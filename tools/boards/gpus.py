"""GPUs, by the DCGM exporter."""

from __future__ import annotations

from .panel import Board, Panel

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
