"""A dry run previews everything and changes nothing, on an empty cluster and on one with something to lose."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from conftest import Cluster

from .conftest import ROOT, Runbook

#: Kinds that notebooks create or change and that nothing changes by itself; of nodes, which report in, the labels.
KINDS = (
    "namespaces,daemonsets,deployments,jobs,services,serviceaccounts,persistentvolumeclaims,secrets,"
    "poddisruptionbudgets,priorityclasses,roles,rolebindings,clusterroles,clusterrolebindings,customresourcedefinitions"
)
VERSIONS = "{range .items[*]}{.kind}/{.metadata.namespace}/{.metadata.name} {.metadata.resourceVersion}\n{end}"
LABELS = "{range .items[*]}{.metadata.name} {.metadata.labels}\n{end}"


def state(sandbox: Cluster) -> list[str]:
    objects = sandbox.kubectl("get", KINDS, "-A", "-o", f"jsonpath={VERSIONS}")
    nodes = sandbox.kubectl("get", "nodes", "-o", f"jsonpath={LABELS}")
    return sorted([*objects.splitlines(), *nodes.splitlines()])


def test_on_an_empty_cluster_every_notebook_previews_and_none_changes_anything(
    sandbox: Cluster, runbook: Runbook
) -> None:
    assert runbook("10", "-p", "delete_weights=true").code == 0
    sandbox.kubectl("wait", "--for=delete", "namespace/llm", "--timeout=60s", ok=False)
    before = state(sandbox)
    done = runbook("00", "01", "02", "03", "04", "06", "13", "--dry-run")
    assert done.code == 0, done.out + done.err
    assert state(sandbox) == before
    summary = done.summary
    assert summary["status"] == "passed" and summary["dry_run"] and summary["changed"] == 0
    counts = {step["name"][:2]: step["result"]["would_change"] for step in summary["notebooks"]}
    assert counts["00"] == 0 and counts["01"] == 1 and counts["02"] == 3 and counts["03"] >= 3 and counts["04"] >= 3
    assert counts["06"] > 10 and counts["13"] >= 8
    assert f"dry run: {sum(counts.values())} objects would change; nothing was changed" in done.out

    device_plugin = json.loads((done.directory / "01_device_plugin.ipynb").read_text())["cells"]
    outputs = [output for cell in device_plugin for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output["output_type"] == "error"]
    text = "".join("".join(output.get("text", "")) for output in outputs)
    assert "would create DaemonSet kube-system/nvidia-device-plugin" in text
    assert "Device plugin: dry run: 1 object would change\n" in text and text.count("dry run: 1 object") == 1
    report = (done.directory / "report.html").read_text()
    assert "<b>Dry run.</b>" in report and re.search(r"create</td>\s*<td[^>]*>DaemonSet", report)

    really = runbook("01", "--fresh")
    assert really.code == 0 and not really.summary["dry_run"] and really.summary["changed"] == 1


def test_a_teardown_is_tried_and_nothing_is_gone(sandbox: Cluster, runbook: Runbook) -> None:
    assert runbook("--from", "01", "--to", "02").code == 0
    sandbox.kubectl("-n", "kube-system", "rollout", "status", "daemonset/nvidia-device-plugin", "--timeout=60s")
    before = state(sandbox)
    done = runbook("10", "--dry-run")
    assert done.code == 0, done.out + done.err
    assert state(sandbox) == before
    # the DaemonSet, the label of three nodes, and the namespace that a run makes for its Lease
    assert done.summary["would_change"] == 5
    assert runbook("10").summary["changed"] == 5


def test_plain_papermill_obeys_the_environment(sandbox: Cluster, tmp_path: Path) -> None:
    before = state(sandbox)
    output = tmp_path / "out.ipynb"
    command = [sys.executable, "-m", "papermill", "notebooks/01_device_plugin.ipynb", str(output), "--cwd", "notebooks"]
    env = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"} | {"RUNBOOK_DRY_RUN": "1"}
    done = subprocess.run([*command, "-k", "python3"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Dry run (by RUNBOOK_DRY_RUN)" in output.read_text() and state(sandbox) == before
