"""Measured values of a run under flat names, and the pairs that compare the usual guide's way with ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .state import Run

NAIVE, OURS = "naive", "ours"
#: What the comparison shows, in words and in this order; docs/figures.md explains every name.
_SUBJECTS = {
    "outage": "50 requests per second",
    "rollout": "a rolling update under load",
    "drain": "a node drained under load",
    "delete": "a pod deleted under load",
}
_MEASURES = {
    "sent": "sent",
    "complete": "complete",
    "dropped": "dropped",
    "rejected": "rejected",
    "oom_killed": "OOM-killed",
    "ttft_p50_s": "TTFT, median (s)",
    "ttft_p99_s": "TTFT, p99 (s)",
}


def flat(run: Run) -> dict[str, Any]:
    """All figures of a run by dotted name: ``outage.ours.dropped``, ``deploy_vllm.ttft_seconds``.

    A name without a dot gets its notebook's name in front.
    """
    found: dict[str, Any] = {}
    for step in run.steps:
        prefix = step.name.partition("_")[2]
        for name, value in step.result.get("figures", {}).items():
            found[name if "." in name else f"{prefix}.{name}"] = value
    return found


def comparison(figures: Mapping[str, Any]) -> list[tuple[str, str, Any, Any]]:
    """Rows of subject, measure, the naive value and ours, for what was measured on both.

    A value that one of them doesn't have (a time of answers, and there was no answer) is a dash.
    """
    rows = []
    for group, subject in _SUBJECTS.items():
        names = [f"{group}.{design}" for design in (NAIVE, OURS)]
        if not all(f"{name}.sent" in figures for name in names):
            continue
        for measure, words in _MEASURES.items():
            naive, ours = (figures.get(f"{name}.{measure}", "–") for name in names)
            if (naive, ours) != ("–", "–"):
                rows.append((subject if measure == "sent" else "", words, naive, ours))
    return rows
