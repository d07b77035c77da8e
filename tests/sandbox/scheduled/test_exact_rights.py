"""Each notebook with exactly the rights that it declares, by the RBAC authorizer of the real API server.

In the order of the story, each as a ServiceAccount of its own with the roles that ``runbook roles`` prints, and with
nothing else. A right that is missing from permissions/ fails here, and so does one that only an administrator has.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accounts import LIGHT, Accounts
from conftest import Cluster

from .conftest import clean, runbook

STORY = ["01", "02", "03", "04", "05", "06", "07", "08"]
SPACES = ["llm", "llm-naive", "llm-models", "monitoring", "keda", "karpenter"]
#: What a run may not touch when it only looks. Left out is what changes by itself: nodes, events, kubelets' leases.
KINDS = (
    "namespaces,pods,services,serviceaccounts,secrets,configmaps,persistentvolumeclaims,deployments,daemonsets,"
    "replicasets,jobs,cronjobs,poddisruptionbudgets,roles,rolebindings,clusterroles,clusterrolebindings,"
    "priorityclasses,customresourcedefinitions,apiservices,storageclasses"
)


@pytest.fixture(scope="module")
def runs(sandbox: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("runs")
    yield directory
    runbook("run", "10", *LIGHT, "-p", "delete_weights=true", "--runs-dir", str(directory))
    clean(sandbox, *SPACES)


def run_as(file: Path, runs: Path, notebook: str, *more: str) -> subprocess.CompletedProcess[str]:
    """``runbook run NN`` by the account of a kubeconfig."""
    return runbook(
        "run", notebook, *LIGHT, "-p", f"kubernetes.kubeconfig={file}", "--runs-dir", str(runs / notebook), *more
    )


def versions(sandbox: Cluster) -> dict[str, str]:
    """resourceVersion of every object, by kind and name."""
    items: list[dict[str, Any]] = sandbox.get(KINDS, "", "-A")["items"]
    return {
        "/".join((item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"])): item["metadata"][
            "resourceVersion"
        ]
        for item in items
    }


def test_preflight(accounts: Accounts, runs: Path) -> None:
    file = accounts.kubeconfig("00", name="only-00")
    done = run_as(file, runs, "00", "-p", "permissions_of='00'")
    assert done.returncode == 0, done.stdout + done.stderr
    refused = run_as(file, runs, "00", "--fresh")
    assert refused.returncode == 1, "asked for all notebooks, it says what this account can't do"
    assert "03_storage_weights: create jobs.batch in llm" in refused.stderr


def test_one_right_less_ends_in_preflight_and_names_it(sandbox: Cluster, accounts: Accounts, runs: Path) -> None:
    file = accounts.kubeconfig("03", name="less-03", without=("create", "jobs"))
    before = versions(sandbox)
    done = run_as(file, runs, "03", "--fresh")
    assert done.returncode == 1
    assert "Storage and weights: 1 permissions are missing" in done.stderr
    assert "may not create jobs.batch in llm" in done.stderr
    assert versions(sandbox) == before
    assert "No resources found" in sandbox.kubectl("-n", "llm", "get", "lease", ok=False), "the Lease was given back"


@pytest.mark.parametrize("notebook", [*STORY[:5], "20", *STORY[5:], "09", "12"])
def test_each_with_its_own(accounts: Accounts, runs: Path, notebook: str) -> None:
    file = accounts.kubeconfig(notebook, name=f"only-{notebook}")
    done = run_as(file, runs, notebook)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_verify_sees_all_is_well_and_changes_nothing(sandbox: Cluster, accounts: Accounts, runs: Path) -> None:
    file = accounts.kubeconfig("verify", name="only-verify")
    applied = " ".join(STORY)
    before = versions(sandbox)
    where = ["-p", f"kubernetes.kubeconfig={file}", "--runs-dir", str(runs / "verify")]
    done = runbook("verify", *LIGHT, *where, "--applied", applied)
    assert done.returncode == 0, done.stdout + done.stderr
    assert versions(sandbox) == before
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("verify ")]
    assert line == done.stdout.splitlines()[-1] and "verify passed on sandbox-default: 3 of 3 notebooks" in line
    summary = json.loads((runs / "verify" / "latest" / "summary.json").read_text())
    assert summary["figures"]["verify.compared_objects"] > 15 and summary["changed"] == 0


def test_verify_names_what_was_changed_and_what_is_gone(sandbox: Cluster, accounts: Accounts, runs: Path) -> None:
    sandbox.kubectl("-n", "llm", "set", "env", "deployment/vllm-inference", "EXTRA=1", "VLLM_ENGINE_READY_TIMEOUT_S=5")
    sandbox.kubectl("-n", "llm", "delete", "service", "inference")
    file = accounts.directory / "only-verify.kubeconfig"
    done = runbook("verify", *LIGHT, "-p", f"kubernetes.kubeconfig={file}", "--runs-dir", str(runs / "verify"))
    assert done.returncode == 1
    summary = json.loads((runs / "verify" / "latest" / "summary.json").read_text())
    assert [step["status"] for step in summary["notebooks"]][::2] == ["passed", "failed"], "all three are run"
    checks = {check["name"]: check for check in summary["notebooks"][2]["result"]["checks"]}
    drift = checks["nothing differs from what was applied"]
    assert not drift["ok"]
    assert "Service llm/inference: is not there" in drift["detail"]
    assert "env[VLLM_ENGINE_READY_TIMEOUT_S].value: 5, applied was" in drift["detail"]
    assert "(by kubectl-set at" in drift["detail"] and "EXTRA" not in drift["detail"]
    assert done.stdout.splitlines()[-1].startswith("verify failed")


def test_teardown_with_its_own(accounts: Accounts, runs: Path) -> None:
    file = accounts.kubeconfig("10", name="only-10")
    done = run_as(file, runs, "10", "-p", "delete_weights=true")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
