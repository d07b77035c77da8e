"""RBAC objects from permissions: exactly the rights, in the right places, and enough for what is done with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from runbook_cli.main import main
from vllm_runbook import cluster as k8s
from vllm_runbook import params
from vllm_runbook.cluster import Rule, rules
from vllm_runbook.permissions import TITLES, changes_something, permissions
from vllm_runbook.permissions.roles import policy_rules, roles
from vllm_runbook.scheduled import nightly, rbac
from vllm_runbook.steps.inventory import inventory

ROOT = Path(__file__).parents[3]
PLATFORMS = sorted(file.stem for file in (ROOT / "params" / "platforms").glob("*.yaml"))
#: Resources of kinds whose plural isn't the lower-case kind with an s.
PLURALS = {
    "PriorityClass": "priorityclasses",
    "KWOKNodeClass": "kwoknodeclasses",
    "NetworkPolicy": "networkpolicies",
    "GatewayClass": "gatewayclasses",
}
READING = {"get", "list", "watch"}


def platform(name: str) -> params.Platform:
    return params.load(name, "qwen3-8b", {}).platform


def granted(items: list[dict[str, Any]]) -> set[Rule]:
    """The rights in roles, as rules again."""
    found = set()
    for item in items:
        for rule in item.get("rules", ()):
            for resource in rule["resources"]:
                plain, _, sub = resource.partition("/")
                for verb in rule["verbs"]:
                    for name in rule.get("resourceNames", [""]):
                        space = item["metadata"].get("namespace", "")
                        found.add(Rule(verb, plain, rule["apiGroups"][0], space, sub, name))
    return found


@pytest.mark.parametrize("name", PLATFORMS)
@pytest.mark.parametrize("step", TITLES)
def test_roles_grant_exactly_the_permissions(name: str, step: str) -> None:
    items = roles(step, platform(name), "role", "account", "home")
    assert granted(items) == set(permissions(step, platform(name)))
    bindings = [item for item in items if item["kind"].endswith("Binding")]
    assert len(bindings) * 2 == len(items)
    for item in bindings:
        assert item["subjects"] == [{"kind": "ServiceAccount", "name": "account", "namespace": "home"}]
        assert item["roleRef"]["kind"] == item["kind"].removesuffix("Binding")


def test_equal_verbs_share_a_rule_and_names_stay_apart() -> None:
    wanted = [*rules("get list", "pods services"), *rules("get", "leases", group="g", names="one")]
    assert policy_rules(wanted) == [
        {"apiGroups": [""], "resources": ["pods", "services"], "verbs": ["get", "list"]},
        {"apiGroups": ["g"], "resources": ["leases"], "verbs": ["get"], "resourceNames": ["one"]},
    ]


@pytest.mark.parametrize("name", PLATFORMS)
def test_verification_can_write_nothing(name: str) -> None:
    found = {rule for step in rbac.VERIFY for rule in permissions(step, platform(name))}
    writing = {rule for rule in found if rule.verb not in READING}
    assert writing == {Rule("create", "pods", "", "llm", "portforward")}, "one question is all"
    assert not any(changes_something(step, platform(name)) for step in rbac.VERIFY)


@pytest.mark.parametrize("name", PLATFORMS)
def test_who_changes_something_takes_the_lease(name: str) -> None:
    for step in TITLES:
        locks = [rule for rule in permissions(step, platform(name)) if rule.resource == "leases" and rule.name]
        assert {rule.verb for rule in locks} >= {"update", "delete"} or not changes_something(step, platform(name))
    assert changes_something("04_deploy_vllm", platform(name))


@pytest.mark.parametrize("name", PLATFORMS)
def test_verification_may_read_all_that_notebooks_leave(name: str) -> None:
    found = params.load(name, "qwen3-8b", {})
    rights = set(permissions("30_verify", found.platform))
    for item in inventory(found).objects:
        ref = k8s.ref_of(item)
        group = ref.version.rpartition("/")[0]
        resource = PLURALS.get(ref.kind, f"{ref.kind.lower()}s")
        assert Rule("get", resource, group, ref.namespace) in rights, str(ref)


def test_the_command_prints_what_kubectl_applies() -> None:
    done = CliRunner().invoke(main, ["roles", "verify", "04", "--platform", "eks", "--service-account", "robot"])
    assert done.exit_code == 0, done.output
    items = list(yaml.safe_load_all(done.output))
    assert [item["metadata"]["name"] for item in items if item["kind"] == "ServiceAccount"] == ["robot"]
    names = {item["metadata"]["name"] for item in items if item["kind"] == "ClusterRole"}
    assert names == {"runbook-00-preflight", "runbook-09-diagnosis", "runbook-30-verify", "runbook-04-deploy-vllm"}
    spaces = {item["metadata"]["name"] for item in items if item["kind"] == "Namespace"}
    assert spaces >= {"llm", "keda"} and "kube-system" not in spaces
    assert "&id" not in done.output, "no YAML anchors"


def test_the_command_says_who_could_give_themselves_any_right() -> None:
    done = CliRunner().invoke(main, ["roles", "06", "--platform", "sandbox"])
    assert "06_autoscaling installs programs with wide roles" in done.output
    assert "escalate" not in CliRunner().invoke(main, ["roles", "04"]).output.partition("apiVersion")[2]
    wrong = CliRunner().invoke(main, ["roles", "44"])
    assert wrong.exit_code == 2 and "There is no notebook 44" in wrong.output


def test_the_nightly_pod_is_restricted_and_knows_its_parameters() -> None:
    found = params.load("sandbox", "qwen3-8b", {"namespace": "llm-2", "results.size": "8Gi"})
    items = {
        item["kind"]: item for item in nightly.objects(found, nightly.Wishes(cron="5 1 * * *", keep=7, roles=False))
    }
    job = items["CronJob"]["spec"]
    assert (job["schedule"], job["concurrencyPolicy"]) == ("5 1 * * *", "Forbid")
    assert job["jobTemplate"]["spec"]["backoffLimit"] == 0 and job["jobTemplate"]["spec"]["activeDeadlineSeconds"] > 0
    pod = job["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert (
        pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    )
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "--keep=7" in container["args"]
    assert items["PersistentVolumeClaim"]["spec"]["resources"]["requests"]["storage"] == "8Gi"
    inside = yaml.safe_load(items["ConfigMap"]["data"]["platform.yaml"])
    assert inside["namespace"] == "llm-2" and inside["kubernetes"]["context"] == "in-cluster"
    assert all(item["metadata"]["namespace"] == "llm-2" for item in items.values())
