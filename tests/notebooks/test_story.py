"""From nothing to a served model and back, as a user runs it; in this order, on one sandbox."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from conftest import Cluster
from vllm_runbook import cluster as k8s
from vllm_runbook import notebook
from vllm_runbook.cluster import Ref
from vllm_runbook.steps import teardown
from vllm_runbook.steps.inventory import inventory

from .conftest import ROOT, Runbook, command, verdict_of

STORY = ["00_preflight", "01_device_plugin", "02_label_gpu_nodes", "03_storage_weights", "04_deploy_vllm"]


def clean(sandbox: Cluster, runbook: Runbook) -> None:
    assert runbook("10", "-p", "delete_weights=true").code == 0
    sandbox.kubectl("wait", "--for=delete", "namespace/llm", "--timeout=60s", ok=False)


def test_from_nothing_to_a_streamed_answer_and_again(sandbox: Cluster, runbook: Runbook) -> None:
    clean(sandbox, runbook)
    first = runbook("--to", "04")
    assert first.code == 0, first.out + first.err
    summary = first.summary
    assert [item["status"] for item in summary["notebooks"]] == ["passed"] * 5
    assert summary["simulated"] and summary["changed"] >= 8
    served = summary["notebooks"][-1]["result"]
    assert served["figures"]["completion_tokens"] > 0 and served["figures"]["ttft_seconds"] > 0
    for name in STORY:
        kept = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())["cells"]
        assert first.verdict(name) == verdict_of(kept), name

    report = (first.directory / "report.html").read_text()
    assert "simulated answer" in report and report.count("plotly-graph-div") >= 7
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=.https?://", report)
    suite = ElementTree.parse(first.directory / "junit.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("5", "0")

    pods = sandbox.get("pods", "", "-n", "llm", "-l", "app.kubernetes.io/name=vllm-inference")["items"]
    assert [pod["spec"]["nodeName"].rpartition("-")[0] for pod in pods] == ["gpu"]

    second = runbook("--to", "04")
    assert second.code == 0 and second.summary["changed"] == 0
    assert second.out.count("nothing changed") == 7  # each notebook, the run's summary, and its end
    again = sandbox.get("pods", "", "-n", "llm", "-l", "app.kubernetes.io/name=vllm-inference")["items"]
    assert [pod["metadata"]["uid"] for pod in again] == [pod["metadata"]["uid"] for pod in pods]


def test_the_inventory_is_what_was_applied(sandbox: Cluster) -> None:
    """Computed from the parameters alone, and neither more nor less than what notebooks 01 to 04 made."""
    book = notebook.begin("10_teardown", "sandbox", "qwen3-8b")
    items = inventory(book.params, STORY)
    planned = book.plan(items.objects)
    assert not planned and {change.action for change in planned.changes} == {"unchanged"}, str(planned)
    there = {ref for ref, _ in k8s.created(book.cluster, teardown.KINDS, ["llm", "kube-system"])}
    assert there == {k8s.ref_of(item) for item in items.objects} | {Ref("Secret", "vllm-api-key", "llm", "v1")}
    assert [each.what for each in items.missing] == [
        "label hardware-type=nvidia-gpu of the GPU nodes",
        "Secret llm/vllm-api-key",
    ]


def test_nbval_finds_the_stored_verdicts(sandbox: Cluster) -> None:
    files = [f"notebooks/{name}.ipynb" for name in STORY]
    env = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    command = [sys.executable, "-m", "pytest", "--nbval", "-p", "no:cacheprovider", "-q", *files]
    done = subprocess.run([*command, "-W", "ignore"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout and "failed" not in done.stdout


def test_a_wrong_flag_is_shown_with_its_log_line_and_mended(sandbox: Cluster, runbook: Runbook) -> None:
    wrong = runbook("04", "-p", "model.extra_args=--disable-log-requests")
    assert wrong.code == 1
    assert "unrecognized arguments: --disable-log-requests" in wrong.err
    assert "exit code 2" in wrong.err and "04_deploy_vllm.ipynb" in wrong.err
    assert wrong.summary["notebooks"][0]["status"] == "failed"
    failure = ElementTree.parse(wrong.directory / "junit.xml").getroot().find("testcase/failure")
    assert failure is not None and "unrecognized arguments" in (failure.text or "")
    right = runbook("04")
    assert right.code == 0 and right.summary["changed"] == 1


def test_an_image_that_does_not_exist_is_named(runbook: Runbook) -> None:
    done = runbook("04", "-p", "images.vllm=vllm/vllm-openai:nightly-2")
    assert done.code == 1 and "vllm/vllm-openai:nightly-2" in done.err and "not found" in done.err
    again = runbook("04")
    assert again.code == 0, again.out + again.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-p", "storage.clas=x"], "storage.clas = 'x': no such parameter"),
        (["-p", "max_model_len=lots"], "model.max_model_len = 'lots'"),
        (["--model", "qwen3-9b"], "Did you mean 'qwen3-8b'?"),
        (["--platform", "gkee"], "Did you mean 'gke'?"),
        (["--from", "nonsense"], "There is no notebook nonsense"),
        (["-p", "novalue"], "a parameter is NAME=VALUE"),
    ],
)
def test_bad_arguments_end_before_anything_starts(runbook: Runbook, arguments: list[str], words: str) -> None:
    done = runbook(*arguments)
    assert done.code == 2 and words in done.err
    assert not done.directory.exists()


def test_a_model_that_is_too_big_stops_in_preflight(runbook: Runbook) -> None:
    done = runbook(
        "--model", "llama-3.1-70b-instruct", "-p", "tensor_parallel_size=1", environment={"HF_TOKEN": "x" * 12}
    )
    assert done.code == 1
    assert "00_preflight failed" in done.err and "does not fit" in done.err and "tensor_parallel_size" in done.err
    assert [item["status"] for item in done.summary["notebooks"]] == ["failed"] + ["not run"] * 9


def test_ctrl_c_in_the_middle_then_again(sandbox: Cluster, runbook: Runbook, tmp_path: Path) -> None:
    """Interrupted while the server loads; the same command goes on there."""
    assert runbook("10").code == 0
    env = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    process = subprocess.Popen(
        command(tmp_path / "runs", "--to", "04", "--fresh"),
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    sandbox.kubectl("-n", "llm", "wait", "--for=create", "deployment/vllm-inference", "--timeout=120s", timeout=130)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "interrupted" in err
    states = json.loads((tmp_path / "runs" / "latest" / "summary.json").read_text())
    assert states["status"] == "interrupted"
    again = runbook("--to", "04")
    assert again.code == 0 and "resuming" in again.out
    assert [item["status"] for item in again.summary["notebooks"]] == ["passed"] * 5


def test_teardown_keeps_the_weights_unless_told(sandbox: Cluster, runbook: Runbook) -> None:
    sandbox.kubectl("-n", "llm", "create", "configmap", "theirs")
    first = runbook("10")
    assert first.code == 0 and first.verdict("10_teardown") == verdict_of(
        json.loads((ROOT / "notebooks" / "10_teardown.ipynb").read_text())["cells"]
    )
    assert sandbox.get("pvc", "", "-n", "llm")["items"][0]["metadata"]["name"] == "model-weights"
    assert sandbox.get("configmap", "theirs", "-n", "llm")
    assert sandbox.get("deployments", "", "-n", "llm")["items"] == []
    labels = sandbox.get("node", "gpu-0")["metadata"]["labels"]
    assert "hardware-type" not in labels
    again = runbook("10")
    assert again.code == 0 and again.summary["changed"] == 0
    assert runbook("10", "-p", "delete_weights=true").code == 0
    assert sandbox.get("pvc", "", "-n", "llm")["items"] == []
    assert sandbox.get("configmap", "theirs", "-n", "llm"), "a namespace with something of others in it stays"
    sandbox.kubectl("-n", "llm", "delete", "configmap", "theirs")
    assert runbook("10", "-p", "delete_weights=true").code == 0
    sandbox.kubectl("wait", "--for=delete", "namespace/llm", "--timeout=60s", ok=False)
    assert "llm" not in [item["metadata"]["name"] for item in sandbox.get("namespaces")["items"]]
