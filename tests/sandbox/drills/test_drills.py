"""Every drill from end to end: broken, found by the doctor, mended as its solution says, judged, put back."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from typing import Any

import pytest

from conftest import Cluster
from vllm_runbook import cluster as k8s
from vllm_runbook import doctor, drills
from vllm_runbook.cluster import Object, Ref
from vllm_runbook.drills.panel import Panel
from vllm_runbook.errors import RunbookError
from vllm_runbook.notebook import Notebook
from vllm_runbook.steps import deploy, device_plugin, teardown

from .conftest import MODEL

#: The autoscaler's own drills, and those before them: the doctor gives a new autoscaler a minute.
WITH_AUTOSCALER = list(drills.DRILLS)[12:]


def findings(book: Notebook) -> list[doctor.Finding]:
    return list(doctor.diagnose(doctor.examine(book.cluster, doctor.context_of(book.params))).findings)


def kept(book: Notebook) -> dict[str, Any]:
    """What must be the same afterwards: what our objects say, and who says it."""
    refs = [
        Ref("Deployment", deploy.DEPLOYMENT, book.namespace),
        Ref("DaemonSet", device_plugin.NAME, "kube-system"),
        Ref("ScaledObject", "vllm-inference", book.namespace),
        *(Ref("Node", f"gpu-{index}") for index in range(3)),
    ]
    return {str(ref): _lasting(item) for ref in refs if (item := book.cluster.find(ref))}


def _lasting(item: Object) -> tuple[Any, ...]:
    meta = item["metadata"]
    owners = [
        (entry["manager"], entry["operation"], entry["fieldsV1"])
        for entry in meta["managedFields"]
        if entry["operation"] == "Apply"
    ]
    taints = [each for each in item["spec"].get("taints") or () if not each["key"].startswith("node.kubernetes.io/")]
    spec = {**item["spec"], "taints": taints} if item["kind"] == "Node" else item["spec"]
    return meta.get("labels"), spec, owners


@pytest.mark.parametrize("name", drills.DRILLS)
def test_drill(request: pytest.FixtureRequest, book: Notebook, shell: Mapping[str, str], name: str) -> None:
    if name in WITH_AUTOSCALER:
        request.getfixturevalue("autoscaled")
    before = kept(book)
    drill = drills.start(book, name)
    assert not drills.check(book, seconds=0.5).solved
    found = findings(book)
    assert name in [each.code for each in found], found
    others = [each for each in found if each.severity == "error" and each.code != name]
    assert not others, others

    commands = "\n".join(drills.commands(book, drill))
    done = subprocess.run(["bash", "-euc", commands], env=shell, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    outcome = drills.check(book, seconds=60)
    assert outcome.solved, outcome.missing

    assert drills.reset(book) == name
    assert kept(book) == before
    assert [each for each in findings(book) if each.severity == "error"] == []


@pytest.mark.parametrize("name", ["gpu-no-plugin", "image-auth"])
def test_a_reset_mends_what_nobody_has_mended(book: Notebook, name: str) -> None:
    before = kept(book)
    drills.start(book, name)
    assert drills.reset(book) == name
    assert kept(book) == before
    assert drills.reset(book) == ""


def test_the_commands(sandbox: Cluster, book: Notebook) -> None:
    def drill(*arguments: str) -> subprocess.CompletedProcess[str]:
        return sandbox.runbook("drill", *arguments, "--model", MODEL)

    wrong = drill("start", "bad-flags")
    assert wrong.returncode == 2 and "Did you mean 'bad-flag'?" in wrong.stderr
    assert drill("check").returncode == 2
    started = drill("start", "bad-flag")
    assert started.returncode == 0 and "doesn't get ready" in started.stdout, started.stderr
    again = drill("start", "image-name")
    assert again.returncode == 2 and "bad-flag is under way" in again.stderr
    listed = drill("list")
    assert "under way, " in listed.stdout and all(name in listed.stdout for name in drills.DRILLS)
    assert "hint 1 of 3" in drill("hint").stdout
    not_yet = drill("check", "--seconds", "0.5")
    assert not_yet.returncode == 1 and "isn't rolled out" in not_yet.stdout
    assert "disable-log-requests" not in not_yet.stdout
    with pytest.raises(RunbookError, match="bad-flag is under way"):
        teardown.plan(book)
    told = sandbox.runbook("doctor", "--model", MODEL, "--json")
    assert told.returncode == 2
    assert [each["code"] for each in json.loads(told.stdout)["findings"]] == ["bad-flag"]
    sandbox.kubectl("-n", "llm", "rollout", "undo", f"deployment/{deploy.DEPLOYMENT}")
    assert "solved in " in drill("check").stdout
    assert drill("reset").returncode == 0
    assert drill("reset").stdout.endswith("no drill is under way\n")


def test_a_drill_begins_with_a_server_that_serves(book: Notebook) -> None:
    ref = Ref("Deployment", deploy.DEPLOYMENT, book.namespace)
    item = book.cluster.get(ref)
    path = book.cluster.path("Deployment", name=ref.name, namespace=ref.namespace)
    merge = "application/merge-patch+json"
    book.cluster.json("PATCH", path, body={"metadata": {"labels": {k8s.ownership.MANAGED_BY: "x"}}}, content=merge)
    try:
        with pytest.raises(RunbookError, match="can't touch Deployment llm/vllm-inference"):
            drills.start(book, "bad-flag")
        assert drills.running(book) is None
    finally:
        labels = {k8s.ownership.MANAGED_BY: item["metadata"]["labels"][k8s.ownership.MANAGED_BY]}
        book.cluster.json("PATCH", path, body={"metadata": {"labels": labels}}, content=merge)


def test_the_panel(book: Notebook, capsys: pytest.CaptureFixture[str]) -> None:
    panel = Panel(book, drills.named("image-name"))
    panel.buttons["start"].click()
    panel.buttons["hint"].click()
    drills.apply(book, drills.named("image-name"))
    panel.buttons["check"].click()
    panel.buttons["reset"].click()
    told = capsys.readouterr().out
    for words in ("doesn't get ready", "hint 1 of 3", "solved", "everything is back"):
        assert words in told
    assert panel.clock.value and not panel.buttons["start"].disabled
