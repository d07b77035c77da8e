"""kubectl and helm get the cluster that we are connected to, whatever the user's current one is."""

from __future__ import annotations

from pathlib import Path

import pytest
from kubernetes import client

from vllm_runbook import tools
from vllm_runbook.cluster import Cluster, program


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "find", lambda name: Path("/bin/echo") if name != "kustomize" else None)


def connected(kubeconfig: Path | None) -> Cluster:
    return Cluster(client.ApiClient(client.Configuration(host="https://127.0.0.1:1")), "staging", kubeconfig)


@pytest.mark.parametrize(("name", "flag"), [("kubectl", "--context"), ("helm", "--kube-context")])
def test_options_name_file_and_context(name: str, flag: str) -> None:
    found = program(connected(Path("/etc/me/config")), name)
    assert found is not None
    assert found.run("get").stdout == f"--kubeconfig /etc/me/config {flag} staging get\n"


def test_in_a_cluster_the_users_kubeconfig_is_out_of_reach() -> None:
    found = program(connected(None), "kubectl")
    assert found is not None
    assert found.command == ("/bin/echo",) and found.env["KUBECONFIG"] == "/dev/null"


def test_what_is_not_installed_is_none() -> None:
    assert program(connected(None), "kustomize") is None
