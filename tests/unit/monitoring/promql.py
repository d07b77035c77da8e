"""Metrics of expressions, and promtool."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from vllm_sandbox import binaries
from vllm_sandbox.images.dcgm_exporter import FIELDS

ROOT = Path(__file__).parents[3]
#: Words of PromQL that are no metrics.
WORDS = set(["by", "on", "and", "or", "unless", "without", "group_left", "group_right", "bool", "offset", "ignoring"])


def promtool(*arguments: str | Path) -> str:
    """What it says; it must be content."""
    program = str(binaries.ensure("promtool")["promtool"])
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def metrics(expression: str) -> set[str]:
    """Names of the metrics in an expression."""
    bare = re.sub(r'"[^"]*"|\[[^\]]*\]|\b(by|on|group_left|group_right)\s*\([^)]*\)', " ", expression)
    names = re.findall(r"(?<![\w:.])[a-zA-Z_:][\w:]*(?!\s*\()(?![\w:])", re.sub(r"\{[^}]*\}", " ", bare))
    named = {name for text in re.findall(r'__name__=~"([^"]+)"', expression) for name in text.split("|")}
    return (set(names) - WORDS) | named


def unknown(expression: str, recorded: set[str]) -> set[str]:
    """Metrics that neither vLLM's recording, nor DCGM's default counters, nor our rules have.

    Those of kube-state-metrics and KEDA pass: tests/notebooks/test_under_load.py holds them against the real programs.
    """
    recording = (ROOT / "lib/vllm_sandbox/vllm/metrics.txt").read_text(encoding="utf-8")
    known = set(re.findall(r"^(vllm:\w+)\{", recording, re.MULTILINE)) | recorded | {field for field, *_ in FIELDS}
    return {name for name in metrics(expression) - known if not name.startswith(("kube_", "keda_"))}
