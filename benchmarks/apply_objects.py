"""Preview and apply of many objects by the library, against kubectl doing the same."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

from measuring import Row, kubectl, sandbox, stopwatch

from vllm_runbook import params
from vllm_runbook.cluster import Cluster, apply, connect, plan

COUNT = 100


def measure() -> list[Row]:
    with sandbox() as kubeconfig:
        connection = connect(params.load("sandbox", "tiny").platform)
        rows = []
        for when in ("new", "unchanged"):
            ours, theirs = _library(connection, kubeconfig), _kubectl(kubeconfig)
            what = f"plan and apply of {COUNT} {when} objects"
            against = "kubectl diff and apply, server-side"
            rows.append(Row(what, f"{ours:.2f} s", against, f"{theirs:.2f} s", f"{ours / theirs:.2f}"))
    return rows


def _items(namespace: str) -> list[dict[str, Any]]:
    meta = [{"name": f"c{number}", "namespace": namespace} for number in range(COUNT)]
    return [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": each, "data": {"a": "1"}} for each in meta]


def _library(connection: Cluster, kubeconfig: Path) -> float:
    _namespace(kubeconfig, "ours")
    with stopwatch() as seconds, contextlib.redirect_stdout(io.StringIO()):
        apply(connection, plan(connection, _items("ours"), "04_deploy_vllm"))
    return seconds[0]


def _kubectl(kubeconfig: Path) -> float:
    _namespace(kubeconfig, "theirs")
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": _items("theirs")})
    with stopwatch() as seconds:
        with contextlib.suppress(Exception):  # diff has exit code 1 when there is a difference
            kubectl(kubeconfig, "diff", "--server-side", "-f", "-", stdin=text)
        kubectl(kubeconfig, "apply", "--server-side", "-f", "-", stdin=text)
    return seconds[0]


def _namespace(kubeconfig: Path, name: str) -> None:
    with contextlib.suppress(Exception):  # there already
        kubectl(kubeconfig, "create", "namespace", name)
