"""Drift by reading only: what a manifest sets, who set it otherwise, and what we applied once."""

from __future__ import annotations

import copy
from typing import Any

from vllm_runbook.steps.read_only_drift import differences

WANTED: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "x", "namespace": "n", "labels": {"app.kubernetes.io/name": "x"}},
    "spec": {
        "template": {
            "spec": {
                "tolerations": [],
                "containers": [
                    {
                        "name": "vllm",
                        "image": "a:1",
                        "args": ["--x"],
                        "ports": [{"containerPort": 8000}],
                        "resources": {"limits": {"memory": "1024Mi", "cpu": "0.5"}},
                    }
                ],
            }
        }
    },
}


def owned(image: bool = True, more: bool = False) -> dict[str, Any]:
    fields: dict[str, Any] = {"f:args": {}, "f:name": {}}
    fields |= {"f:image": {}} if image else {}
    fields |= {"f:workingDir": {}} if more else {}
    containers = {'k:{"name":"vllm"}': {".": {}, **fields}}
    return {"f:spec": {"f:template": {"f:spec": {"f:containers": containers}}}}


def live(image: str = "a:1", by: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """As the server has it: defaults, its own way to write quantities, another container, our marks."""
    item = copy.deepcopy(WANTED)
    item["metadata"]["labels"]["app.kubernetes.io/managed-by"] = "vllm-runbook"
    item["metadata"]["managedFields"] = by or []
    item["spec"]["replicas"] = 3
    spec = item["spec"]["template"]["spec"]
    del spec["tolerations"]
    spec["dnsPolicy"] = "ClusterFirst"
    spec["containers"][0] |= {"image": image, "resources": {"limits": {"memory": "1Gi", "cpu": "500m"}}}
    spec["containers"][0]["ports"][0]["protocol"] = "TCP"
    spec["containers"].insert(0, {"name": "injected", "image": "mesh"})
    return item


def test_defaults_quantities_and_others_fields_are_no_drift() -> None:
    ours = {"manager": "vllm-runbook", "operation": "Apply", "fieldsV1": owned()}
    assert differences(WANTED, live(by=[ours])) == []


def test_a_changed_field_is_named_with_who_changed_it() -> None:
    theirs = {
        "manager": "kubectl-edit",
        "operation": "Update",
        "time": "2026-01-02T03:04:05Z",
        "fieldsV1": {"f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"vllm"}': {"f:image": {}}}}}}},
    }
    (found,) = differences(WANTED, live("a:2", [theirs]))
    path = "spec.template.spec.containers[vllm].image"
    assert str(found) == f"{path}: a:2, applied was a:1 (by kubectl-edit at 2026-01-02T03:04:05Z)"


def test_what_we_applied_once_and_want_no_more_is_drift() -> None:
    ours = {"manager": "vllm-runbook", "operation": "Apply", "fieldsV1": owned(more=True)}
    item = live(by=[ours])
    item["spec"]["template"]["spec"]["containers"][1]["workingDir"] = "/x"
    (found,) = differences(WANTED, item)
    assert found.path == "spec.template.spec.containers[vllm].workingDir" and found.wanted is None


def test_a_missing_container_and_a_longer_list_are_drift() -> None:
    item = live()
    item["spec"]["template"]["spec"]["containers"] = item["spec"]["template"]["spec"]["containers"][:1]
    assert [each.path for each in differences(WANTED, item)] == ["spec.template.spec.containers[vllm]"]
    item = live()
    item["spec"]["template"]["spec"]["containers"][1]["args"] = ["--x", "--y"]
    assert [each.path for each in differences(WANTED, item)] == ["spec.template.spec.containers[vllm].args"]


def test_a_secret_is_compared_and_never_shown() -> None:
    wanted = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"token": "bWluZQ=="}}
    found = {**wanted, "data": {"token": "dGhlaXJz"}}
    (difference,) = differences(wanted, found)
    assert "data.token" in str(difference) and "dGhlaXJz" not in str(difference) and "bWluZQ" not in str(difference)
