"""NetworkPolicies are enforced on what pods ask for, and names are part of what egress needs."""

from __future__ import annotations

from conftest import Cluster

ASK = """
import urllib.error, urllib.request
try:
    print(urllib.request.urlopen("http://hub.sandbox.internal/nothing-there", timeout=20).status)
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
"""
NAMES = {"ports": [{"port": 53, "protocol": "UDP"}]}
#: Rules of egress, and what comes of a request to the hub.
CASES = {
    "nothing": ([], "could not be resolved"),
    "names": ([NAMES], "hub.sandbox.internal:80 gave no answer"),
    "elsewhere": ([NAMES, {"ports": [{"port": 80}], "to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}], "gave no answer"),
    "hub": ([NAMES, {"ports": [{"port": 80}]}], "404"),
}


def test_egress(cluster: Cluster) -> None:
    for name, (egress, _) in CASES.items():
        spec = {"podSelector": {"matchLabels": {"case": name}}, "policyTypes": ["Egress"], "egress": egress}
        meta = {"name": name}
        cluster.apply({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": spec})
    container = {"name": "c", "image": "ghcr.io/vllm-runbook/runbook:0.1.0", "command": ["python", "-c", ASK]}
    pod = {"restartPolicy": "Never", "containers": [container]}
    labelled = [{"name": name, "labels": {"case": name}} for name in CASES]
    cluster.apply([{"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": pod} for meta in labelled])
    for name, (_, words) in CASES.items():
        cluster.wait(f"pod/{name}", "jsonpath={.status.phase}=Succeeded")
        assert words in cluster.kubectl("logs", name)
