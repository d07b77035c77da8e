"""The node agent: 100 pods at once against 10."""

from __future__ import annotations

import json
from pathlib import Path

from measuring import Row, kubectl, sandbox, stopwatch


def measure() -> list[Row]:
    with sandbox() as kubeconfig:
        kubectl(kubeconfig, "wait", "--for=create", "serviceaccount/default", "--timeout=30s")
        few, many = _start(kubeconfig, "few", 10), _start(kubeconfig, "many", 100)
    ratio = f"{(many / 100) / (few / 10):.2f} per pod"
    return [Row("100 pods until the last is ready", f"{many:.1f} s", "10 pods", f"{few:.1f} s", ratio)]


def _start(kubeconfig: Path, name: str, replicas: int) -> float:
    container = {"name": "c", "image": "busybox:1.36", "command": ["sleep", "3600"]}
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": name}},
        "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
        },
    }
    item = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}
    with stopwatch() as seconds:
        kubectl(kubeconfig, "apply", "-f", "-", stdin=json.dumps(item))
        kubectl(kubeconfig, "rollout", "status", f"deployment/{name}", "--timeout=180s")
    return seconds[0]
