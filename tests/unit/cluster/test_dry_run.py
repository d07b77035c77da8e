"""What a dry run lets through: questions, and writes that the API server only tries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from vllm_runbook.cluster import Cluster, DryRunEnded, Program, Ref
from vllm_runbook.cluster.dry_run import DryClient, harmless

PODS = "https://c/api/v1/namespaces/llm/pods"
REVIEW = "https://c/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@pytest.mark.parametrize(
    ("method", "url", "body", "passes"),
    [
        ("GET", PODS, None, True),
        ("GET", PODS + "?watch=true", None, True),
        ("POST", REVIEW, {"spec": {}}, True),
        ("PATCH", PODS + "/a?fieldManager=x&dryRun=All", {}, True),
        ("PATCH", PODS + "/a?fieldManager=x", {}, False),
        ("PATCH", PODS + "/a?dryRun=", {}, False),
        ("DELETE", PODS + "/a", {"dryRun": ["All"]}, True),
        ("DELETE", PODS + "/a", '{"dryRun": ["All"]}', True),
        ("DELETE", PODS + "/a", {"propagationPolicy": "Background"}, False),
        ("DELETE", PODS + "?labelSelector=a", None, False),
        ("POST", PODS, {"dryRun": ["All"]}, False),
        ("PUT", PODS + "/a", {}, False),
        ("POST", "https://c/api/v1/namespaces/llm/services/a:80/proxy/v1/chat?dryRun=All", {}, False),
    ],
)
def test_what_is_harmless(method: str, url: str, body: Any, passes: bool) -> None:
    assert harmless(method, url, body) is passes


def test_a_write_ends_it_before_anything_is_sent() -> None:
    api = DryClient(client.Configuration(host="http://127.0.0.1:1"))
    with pytest.raises(DryRunEnded, match="DELETE /api/v1/pods would change something"):
        api.call_api("DELETE", "http://127.0.0.1:1/api/v1/pods")


def test_programs_may_only_read(tmp_path: Path) -> None:
    kubectl = Program(("/bin/echo", "--context", "c"), reads_only=True)
    assert kubectl.run("get", "pods").stdout == "--context c get pods\n"
    with pytest.raises(DryRunEnded, match="drain node-1 would change something"):
        kubectl.run("drain", "node-1", "--force")


def test_whoever_needs_what_would_have_been_changed_ends() -> None:
    cluster = Cluster(DryClient(client.Configuration(host="http://127.0.0.1:1")), "c")
    assert cluster.dry_run
    cluster.require_nothing_pending("the check")
    cluster.pending.add(Ref("Namespace", "llm"))
    with pytest.raises(DryRunEnded, match="the check needs what would have been changed"):
        cluster.require_nothing_pending("the check")
