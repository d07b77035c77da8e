"""`runbook export kserve`: the registry's models as InferenceServices, which KServe's own schema accepts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from vllm_runbook import params
from vllm_runbook.cluster import get_in
from vllm_runbook.export import kserve
from vllm_runbook.steps import served_models

from .schemas import strict

ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "tests" / "data" / "schemas" / "kserve.yaml"


def export(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "runbook_cli.main", "export", "kserve", str(directory), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("kserve")
    done = export(directory)
    assert done.returncode == 0, done.stderr
    return directory


def services(tree: Path) -> dict[str, dict[str, Any]]:
    found = {}
    for file in sorted((tree / "sandbox").glob("model-*.yaml")):
        found[file.stem] = yaml.safe_load(file.read_text())
    return found


def test_kserves_schema_accepts_every_model(tree: Path) -> None:
    crd = yaml.safe_load(SCHEMA.read_text())
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    found = services(tree)
    assert set(found) == {"model-qwen3-8b", "model-mistral-7b-instruct-v0-3", "model-gpt-oss-20b"}
    for item in found.values():
        jsonschema.validate(item["spec"], strict(spec))
        assert item["apiVersion"] == f"{crd['spec']['group']}/v1beta1"
    wrong = {"predictor": {**found["model-qwen3-8b"]["spec"]["predictor"], "minReplica": 1}}
    with pytest.raises(jsonschema.ValidationError, match="minReplica"):
        jsonschema.validate(wrong, strict(spec))


def test_the_pod_is_notebook_13s(tree: Path) -> None:
    for server in served_models.servers(params.load("sandbox", "qwen3-8b")):
        predictor = services(tree)[server.name]["spec"]["predictor"]
        ours = served_models.deployment(server)["spec"]["template"]["spec"]
        (container,) = predictor["containers"]
        assert container == {**ours["containers"][0], "name": "kserve-container"}
        for name in ("securityContext", "volumes", "affinity", "terminationGracePeriodSeconds", "serviceAccountName"):
            assert predictor[name] == ours[name]
        (metric,) = predictor["autoScaling"]["metrics"]
        assert get_in(metric, "external.metric.query") == served_models.query(server)
        assert metric["external"]["target"] == {"type": "Value", "value": "16"}
        assert predictor["minReplicas"] == (0 if server.cold else 1)


def test_what_must_be_there_first_and_what_never_is_written(tree: Path) -> None:
    text = (tree / "sandbox" / "needed.yaml").read_text()
    kinds = [item["kind"] for item in yaml.safe_load_all(text)]
    assert kinds[0] == "Namespace" and kinds.count("Job") == 5 and "PersistentVolumeClaim" in kinds
    assert "Deployment" not in kinds and "Secret" not in kinds
    readme = (tree / "README.md").read_text()
    assert "Secret llm-models/vllm-api-key must exist" in readme and "runbook export kserve" in readme


def test_again_it_changes_nothing_and_diff_says_why_not(tree: Path) -> None:
    assert "nothing changed" in export(tree).stdout
    command = [sys.executable, "-m", "runbook_cli.main", "diff", str(tree)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "kubectl diff -f" in done.stderr


def test_a_platform_without_a_registry_is_told(tmp_path: Path) -> None:
    done = export(tmp_path, "--platform", "eks")
    assert done.returncode == 2 and "platform.registry: a file of params/registry" in done.stderr
    named = export(tmp_path, "--platform", "eks", "-p", "registry=default")
    assert named.returncode == 0, named.stderr
    assert (tmp_path / "eks" / "model-qwen3-8b.yaml").is_file() and kserve.NOTEBOOK == "13_multi_model"
