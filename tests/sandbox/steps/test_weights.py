"""Notebook 03: storage strategies, resuming, and everything that a user may get wrong."""

from __future__ import annotations

import base64
import json

import pytest

from conftest import Cluster
from vllm_runbook.cluster import Hopeless
from vllm_runbook.errors import RunbookError
from vllm_runbook.steps import weights

from .conftest import Begin, fill

STEP = "03_storage_weights"
GATED = "llama-3.1-8b-instruct"
PREFILLED = {
    "storage.strategy": "prefilled",
    "storage.class": "block-rwo",
    "storage.serve_class": "block-rox",
    "storage.access_modes": {"fill": "ReadWriteOnce", "serve": "ReadOnlyMany"},
    "storage.copy_by": "clone",
}


def test_a_second_run_changes_nothing(cluster: Cluster, begin: Begin, capsys: pytest.CaptureFixture[str]) -> None:
    first = begin(STEP)
    follower = fill(first)
    assert follower.complete["downloaded"] == follower.complete["bytes"] > 0
    assert follower.progress.complete
    assert first.result.ok and first.result.changed == 3  # the namespace was there
    capsys.readouterr()

    second = begin(STEP)
    fill(second)
    assert second.result.ok and second.result.changed == 0
    assert "nothing to change" in capsys.readouterr().out
    assert second.result.text() == first.result.text()


def test_weights_that_are_there_are_not_downloaded_again(cluster: Cluster, begin: Begin) -> None:
    """The Job is gone (somebody cleaned up); a new one finds the marker."""
    fill(begin(STEP))
    cluster.kubectl("delete", "job", weights.JOB)
    book = begin(STEP)
    follower = fill(book)
    assert follower.complete["downloaded"] == 0 and book.result.ok


def test_the_claim_says_which_models_it_holds(cluster: Cluster, begin: Begin) -> None:
    fill(begin(STEP))
    annotations = cluster.get("pvc", weights.CLAIM)["metadata"]["annotations"]
    assert annotations["weights.runbook.vllm.dev/tiny"].startswith("sandbox/tiny-llama@")
    with pytest.raises(RunbookError, match="Qwen/Qwen3-8B are not on the volume"):
        weights.require(begin(STEP, "qwen3-8b"))


def test_a_claim_keeps_its_size_and_grows_where_it_may(cluster: Cluster, begin: Begin) -> None:
    """What another model, or another size, asks of the claim that is there."""

    def ask(size: str) -> str:
        book = begin(STEP, **{"storage.size": size})
        book.apply(weights.plan(book))
        return str(cluster.get("pvc", weights.CLAIM)["spec"]["resources"]["requests"]["storage"])

    fill(begin(STEP, **{"storage.size": "20Gi"}))
    assert ask("10Gi") == "20Gi"
    assert ask("30Gi") == "30Gi"

    expansion = ("patch", "storageclass", "shared-fs", "--patch")
    cluster.kubectl(*expansion, json.dumps({"allowVolumeExpansion": False}))
    try:
        with pytest.raises(RunbookError, match="asks for 30Gi, 40Gi are needed, and it can't grow") as error:
            ask("40Gi")
        assert "StorageClass shared-fs has no allowVolumeExpansion" in error.value.why
    finally:
        cluster.kubectl(*expansion, json.dumps({"allowVolumeExpansion": True}))


def test_prefilled_disk_and_its_read_only_copy(cluster: Cluster, begin: Begin) -> None:
    book = begin(STEP, **PREFILLED)
    fill(book)
    assert book.result.ok
    modes = {item["metadata"]["name"]: item["spec"]["accessModes"] for item in cluster.get("pvc")["items"]}
    assert modes == {"model-weights-fill": ["ReadWriteOnce"], "model-weights": ["ReadOnlyMany"]}
    weights.require(book)


def test_a_copy_on_every_node(cluster: Cluster, begin: Begin, gpus: None) -> None:
    cluster.kubectl("label", "namespace", cluster.namespace, "pod-security.kubernetes.io/enforce=privileged")
    book = begin(STEP, **{"storage.strategy": "per_node", "storage.node_path": f"/var/lib/{cluster.namespace}"})
    fill(book)
    assert book.result.ok
    weights.require(book)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"storage.class": "block-rwo"}, "block-rwo (block.sandbox.vllm-runbook.dev) can't do ReadWriteMany"),
        ({"storage.class": "gp3"}, "there is no StorageClass gp3"),
    ],
)
def test_a_class_that_can_not_do_it_ends_before_anything_is_made(
    cluster: Cluster, begin: Begin, overrides: dict[str, str], words: str
) -> None:
    with pytest.raises(RunbookError) as raised:
        weights.plan(begin(STEP, **overrides))
    assert words in str(raised.value)
    assert cluster.get("pvc")["items"] == []


def test_a_class_that_promises_too_much_is_explained(cluster: Cluster, begin: Begin) -> None:
    name = f"liar-{cluster.namespace}"
    liar = cluster.get("storageclass", "block-rwo")
    liar["metadata"] = {"name": name, "annotations": {"runbook.vllm.dev/access-modes": "ReadWriteMany"}}
    liar["volumeBindingMode"] = "Immediate"
    cluster.apply(liar)
    try:
        with pytest.raises(Hopeless, match="can't be provisioned") as raised:
            fill(begin(STEP, **{"storage.class": name}))
        assert "one node at a time" in raised.value.why
    finally:
        cluster.kubectl("delete", "storageclass", name)


def test_a_volume_that_is_too_small_is_refused(cluster: Cluster, begin: Begin) -> None:
    with pytest.raises(RunbookError, match="too small"):
        weights.plan(begin(STEP, "qwen3-8b", **{"storage.size": "5Gi"}))


def test_a_full_disk_is_told_by_the_job(cluster: Cluster, begin: Begin) -> None:
    """The parameters believe that the model is small; the disk knows better."""
    small = {"model.architecture.params_billion": 0.1, "storage.size": "2Gi"}
    book = begin(STEP, "qwen3-8b", **PREFILLED, **small)
    with pytest.raises(Hopeless) as raised:
        fill(book)
    assert "exit code 13" in str(raised.value) and "enlarge the volume" in str(raised.value)
    enlarged = begin(STEP, "qwen3-8b", **PREFILLED)
    fill(enlarged)  # the claim grows, the failed Job is made anew, and what was downloaded stays
    assert enlarged.result.ok
    assert enlarged.result.figures["downloaded_bytes"] < enlarged.result.figures["weights_bytes"]


def test_a_gated_model_without_a_token_is_refused(cluster: Cluster, begin: Begin) -> None:
    with pytest.raises(RunbookError, match="gated, and there is no token") as raised:
        weights.plan(begin(STEP, GATED))
    assert "HF_TOKEN" in str(raised.value)


@pytest.mark.parametrize(("token", "code"), [("hf_sandbox_noaccess", 11), ("hf_nobody_knows_this_token", 10)])
def test_a_token_that_does_not_open_the_gate(
    cluster: Cluster, begin: Begin, monkeypatch: pytest.MonkeyPatch, token: str, code: int
) -> None:
    book = begin(STEP, GATED)
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(Hopeless) as raised:
        fill(book)
    assert f"exit code {code}" in str(raised.value)
    assert token not in str(raised.value)


def test_the_token_goes_into_the_secret_and_nowhere_else(
    cluster: Cluster, begin: Begin, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    token = "hf_sandbox_reader"
    monkeypatch.setenv("HF_TOKEN", token)
    book = begin(STEP, GATED)
    plan = weights.plan(book)
    fill(book)
    assert book.result.ok
    secret = cluster.get("secret", "hf-token")
    assert base64.b64decode(secret["data"]["token"]).decode() == token
    elsewhere = cluster.kubectl("get", "jobs,pods,pvc,configmaps,events", "-o", "yaml")
    elsewhere += cluster.kubectl("logs", f"job/{weights.JOB}") + str(plan) + capsys.readouterr().out
    elsewhere += json.dumps(book.result.figures)
    assert token not in elsewhere and base64.b64encode(token.encode()).decode() not in elsewhere


def test_an_interrupted_prefetch_goes_on(cluster: Cluster, begin: Begin) -> None:
    """The pod is killed in the middle; the Job's next pod takes up what is there."""
    book = begin(STEP, "qwen3-8b")
    book.apply(weights.plan_namespace(book))
    book.apply(weights.plan(book))
    cluster.kubectl("wait", "--for=create", "pod", "-l", f"batch.kubernetes.io/job-name={weights.JOB}")
    cluster.kubectl("delete", "pod", "-l", f"batch.kubernetes.io/job-name={weights.JOB}", "--wait=false")
    again = begin(STEP, "qwen3-8b")
    fill(again)
    assert again.result.ok and again.result.changed == 0
