"""The sandbox's gateway in place, two servers behind it, and a client."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from conftest import Cluster

ROOT = Path(__file__).parents[3]
SPACE = "gateway-test"
_CRD = "customresourcedefinition.apiextensions.k8s.io"
FILES = ("gateway/crds.yaml", "gateway/gateway.yaml", "gateway/class.yaml", "gateway-object.yaml")


def manifest(name: str) -> list[dict[str, Any]]:
    return [item for item in yaml.safe_load_all((ROOT / "manifests" / "canary" / name).read_text()) if item]


@dataclass(frozen=True)
class Gateway:
    """The running gateway.

    Attributes:
        cluster: kubectl in the namespace with the servers.
        client: of the gateway's own address.
        admin: address of its metrics.
    """

    cluster: Cluster
    client: httpx.Client
    admin: str

    def route(self, name: str, *rules: dict[str, Any], **spec: Any) -> None:
        """Apply a route, and wait until the gateway goes by it."""
        parents = [{"name": "inference", "namespace": "gateway-system"}]
        item = {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {"name": name},
            "spec": {"parentRefs": parents, "rules": list(rules), **spec},
        }
        self.cluster.apply(item)
        generation = self.cluster.get("httproute", name)["metadata"]["generation"]
        told = "jsonpath={.status.parents[0].conditions[0].observedGeneration}"
        self.cluster.wait(f"httproute/{name}", f"{told}={generation}")

    def conditions(self, name: str) -> dict[str, tuple[str, str]]:
        (parent,) = self.cluster.get("httproute", name)["status"]["parents"]
        return {each["type"]: (each["status"], each["reason"]) for each in parent["conditions"]}

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples with these labels."""
        page = httpx.get(f"{self.admin}/metrics").text
        samples = [each for family in text_string_to_metric_families(page) for each in family.samples]
        return sum(each.value for each in samples if each.name == name and labels.items() <= each.labels.items())


def backend(name: str) -> list[dict[str, Any]]:
    """A Deployment with one server, and its Service."""
    labels = {"app": name}
    script = (Path(__file__).parent / "server.py").read_text()
    container = {
        "name": "server",
        "image": "busybox:1.36",
        "command": ["python3", "-c", script, name],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8000}, "periodSeconds": 1, "failureThreshold": 1},
    }
    pod = {"terminationGracePeriodSeconds": 0, "containers": [container]}
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8000}]},
        },
    ]


@pytest.fixture(scope="module")
def gateway(sandbox: Cluster) -> Iterator[Gateway]:
    """The program from its manifest; a Gateway that takes routes of the tests' namespace."""
    definitions, program, (kind,), (item,) = map(manifest, FILES)
    there = set(sandbox.kubectl("get", "crd", "-o", "name").split())
    made = [each for each in definitions if f"{_CRD}/{each['metadata']['name']}" not in there]
    item["spec"]["listeners"][0]["allowedRoutes"]["namespaces"]["selector"] = {
        "matchLabels": {"kubernetes.io/metadata.name": SPACE}
    }
    system = Cluster(sandbox.name, sandbox.kubeconfig, "gateway-system")
    sandbox.kubectl("create", "namespace", SPACE)
    space = Cluster(sandbox.name, sandbox.kubeconfig, SPACE)
    anywhere = Cluster(sandbox.name, sandbox.kubeconfig, "")
    try:
        anywhere.apply([*made, *program])
        sandbox.wait_defined(*(each["metadata"]["name"] for each in definitions))
        anywhere.apply([kind, item])
        space.apply([*backend("stable"), *backend("canary")])
        system.kubectl("rollout", "status", "deployment/gateway", "--timeout=60s")
        for name in ("stable", "canary"):
            space.kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s")
        (pod,) = system.get("pods")["items"]
        address = (
            f"http://127.{pod['status']['podIP'].partition('.')[2]}"  # on the loopback, without the sandbox's proxy
        )
        with httpx.Client(base_url=f"{address}:8080", trust_env=False, timeout=30) as client:
            yield Gateway(space, client, f"{address}:9091")
    finally:
        for each in [item, kind, *reversed(program), *made]:
            where = ["-n", each["metadata"]["namespace"]] if "namespace" in each["metadata"] else []
            resource = f"{each['kind'].lower()}/{each['metadata']['name']}"
            sandbox.kubectl("delete", resource, *where, "--ignore-not-found", "--wait=false", ok=False)
        sandbox.kubectl("delete", "namespace", SPACE, "gateway-system", "--ignore-not-found", "--timeout=60s")
