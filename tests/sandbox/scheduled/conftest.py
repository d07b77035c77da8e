"""The runbook as a ServiceAccount with exactly the rights that ``runbook roles`` prints."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import Cluster

ROOT = Path(__file__).parents[3]
#: Parameters of every run here: nothing is rehearsed.
LIGHT = ["-p", "rehearsal.load=false", "-p", "rehearsal.outage=false", "-p", "rehearsal.crowd=false"]


def runbook(*arguments: str, timeout: float = 600, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in the repository, without what the caller's environment says about clusters and tokens."""
    env = {name: value for name, value in os.environ.items() if name not in ("KUBECONFIG", "HF_TOKEN")} | environment
    command = [sys.executable, "-m", "runbook_cli.main", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout)


@dataclass(frozen=True)
class Accounts:
    """Makes accounts with the rights of notebooks, as an administrator does it."""

    cluster: Cluster
    directory: Path

    def kubeconfig(self, *notebooks: str, name: str, without: tuple[str, str] | None = None) -> Path:
        """Apply ``runbook roles`` and return a kubeconfig with the account's token, and no other credentials.

        Args:
            without: a verb and a resource that is taken out of the roles.
        """
        done = runbook("roles", *notebooks, *LIGHT, "--service-account", name)
        assert done.returncode == 0, done.stderr
        items = [item for item in yaml.safe_load_all(done.stdout) if item]
        if without:
            items = [_without(item, *without) for item in items]
        Cluster(self.cluster.name, self.cluster.kubeconfig, "").apply(items)  # in several namespaces
        document = yaml.safe_load(self.cluster.kubeconfig.read_text())
        token = self.cluster.kubectl("-n", "llm", "create", "token", name, "--duration=1h").strip()
        document["users"][0]["user"] = {"token": token}
        file = self.directory / f"{name}.kubeconfig"
        file.write_text(yaml.safe_dump(document))
        return file


def _without(item: dict[str, Any], verb: str, resource: str) -> dict[str, Any]:
    """Roles with one right less: the resource gets a rule of its own."""
    rules = []
    for rule in item.get("rules", []):
        if resource in rule["resources"] and verb in rule["verbs"]:
            rest = [each for each in rule["resources"] if each != resource]
            rules += [{**rule, "resources": rest}] if rest else []
            rules.append({**rule, "resources": [resource], "verbs": [each for each in rule["verbs"] if each != verb]})
        else:
            rules.append(rule)
    return {**item, "rules": rules} if "rules" in item else item


@pytest.fixture(scope="module")
def accounts(sandbox: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Accounts:
    return Accounts(sandbox, tmp_path_factory.mktemp("accounts"))


def clean(sandbox: Cluster, *namespaces: str) -> None:
    """Take away what the tests' administrator made."""
    sandbox.kubectl("delete", "clusterrole,clusterrolebinding", "-l", "app.kubernetes.io/part-of=vllm-runbook")
    for namespace in ("kube-system", "kube-node-lease"):  # in the others they go with the namespace
        sandbox.kubectl("-n", namespace, "delete", "role,rolebinding", "-l", "app.kubernetes.io/part-of=vllm-runbook")
    sandbox.kubectl("delete", "namespace", *namespaces, "--ignore-not-found", "--timeout=60s")
