"""The runbook at a schedule, and as ServiceAccounts with exactly the rights that ``runbook roles`` prints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from conftest import Cluster

ROOT = Path(__file__).parents[3]


def runbook(*arguments: str, timeout: float = 600, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in the repository, without what the caller's environment says about clusters and tokens."""
    env = {name: value for name, value in os.environ.items() if name not in ("KUBECONFIG", "HF_TOKEN")} | environment
    command = [sys.executable, "-m", "runbook_cli.main", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout)


def clean(sandbox: Cluster, *namespaces: str) -> None:
    """Take away what the tests' administrator made."""
    sandbox.kubectl("delete", "clusterrole,clusterrolebinding", "-l", "app.kubernetes.io/part-of=vllm-runbook")
    for namespace in ("kube-system", "kube-node-lease"):  # in the others they go with the namespace
        sandbox.kubectl("-n", namespace, "delete", "role,rolebinding", "-l", "app.kubernetes.io/part-of=vllm-runbook")
    sandbox.kubectl("delete", "namespace", *namespaces, "--ignore-not-found", "--timeout=60s")
