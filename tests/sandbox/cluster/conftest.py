"""The library connected to the tests' sandbox, in the test's own namespace."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import Cluster
from vllm_runbook import params
from vllm_runbook.cluster import Cluster as Connection
from vllm_runbook.cluster import connect

STEP = "04_deploy_vllm"


@pytest.fixture
def connection(cluster: Cluster) -> Connection:
    return connect(params.load("sandbox", "tiny", {"namespace": cluster.namespace}).platform)


def config_map(namespace: str, name: str = "settings", **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": data or {"a": "1"},
    }


def job(namespace: str, command: str) -> dict[str, Any]:
    container = {"name": "main", "image": "busybox:1.36", "command": ["sh", "-c", command]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "work", "namespace": namespace},
        "spec": {"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    }


def deployment(namespace: str, image: str = "busybox:1.36", **spec: Any) -> dict[str, Any]:
    labels = {"app": "web"}
    container = {"name": "main", "image": image, "command": ["sh", "-c", "sleep 3600"]} | spec.pop("container", {})
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
            },
            **spec,
        },
    }
