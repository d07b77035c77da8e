"""Connecting to the context that the parameters name, and to no other."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import yaml

from conftest import Cluster
from vllm_runbook import params
from vllm_runbook.cluster import connect
from vllm_runbook.errors import RunbookError
from vllm_runbook.params import ParamsError


def test_the_sandbox_is_found_by_itself(sandbox: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    connection = connect(params.load("sandbox", "tiny").platform)
    assert connection.context == "sandbox-default"
    assert connection.server.startswith("https://127.")


def test_a_wrong_context_names_the_right_ones(sandbox: Cluster) -> None:
    changed = {"kubernetes.context": "sandbox-defualt", "kubernetes.kubeconfig": str(sandbox.kubeconfig)}
    with pytest.raises(ParamsError) as raised:
        connect(params.load("sandbox", "tiny", changed).platform)
    told = str(raised.value)
    assert "platform.kubernetes.context = 'sandbox-defualt'" in told
    assert str(sandbox.kubeconfig) in told and "there: sandbox-default" in told


def test_the_current_context_is_never_used(sandbox: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kubeconfig whose current context is the sandbox, and parameters that name another cluster."""
    document = yaml.safe_load(sandbox.kubeconfig.read_text())
    document["current-context"] = document["contexts"][0]["name"] = "production"
    file = tmp_path / "config"
    file.write_text(yaml.safe_dump(document))
    monkeypatch.setenv("KUBECONFIG", str(file))
    with pytest.raises(ParamsError, match="vllm-eks"):
        connect(params.load("eks", "tiny").platform)


def test_an_unreachable_server_is_named(sandbox: Cluster, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        document = yaml.safe_load(sandbox.kubeconfig.read_text())
        server = f"https://127.0.0.1:{taken.getsockname()[1]}"
        document["clusters"][0]["cluster"]["server"] = server
        file = tmp_path / "config"
        file.write_text(yaml.safe_dump(document))
        with pytest.raises(RunbookError, match="can't be reached") as raised:
            connect(params.load("sandbox", "tiny", {"kubernetes.kubeconfig": str(file)}).platform)
    assert server in str(raised.value)


def test_outside_of_a_cluster_null_means_an_error(sandbox: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(RunbookError, match="no cluster around"):
        connect(params.load("sandbox", "tiny", {"kubernetes.context": "null"}).platform)
