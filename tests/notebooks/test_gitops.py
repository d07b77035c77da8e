"""A tree and a chart, installed by stock programs: the notebooks then change nothing, and what drifts is found."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Cluster
from vllm_runbook import tools
from vllm_sandbox import binaries

from .conftest import ROOT, Runbook, verdict_of

#: What this test has in place: everything but spot nodes, and no load on anything. 11's route and 13's models, too.
NOTEBOOKS = ("01", "03", "04", "05", "06", "07", "11", "13")
CALM = ("rehearsal.load=false", "rehearsal.outage=false", "rehearsal.crowd=false")
LAYERS = ("infrastructure", "weights", "serving")


def options(*pairs: str) -> list[str]:
    return ["--platform", "sandbox", "--model", "tiny", *(word for pair in (*CALM, *pairs) for word in ("-p", pair))]


@pytest.fixture(scope="module")
def tree(sandbox: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported tree."""
    directory = tmp_path_factory.mktemp("tree")
    chosen = [word for name in NOTEBOOKS for word in ("--notebook", name)]
    done = sandbox.runbook("export", "kustomize", str(directory), *options(), *chosen)
    assert done.returncode == 0, done.stderr
    return directory


@pytest.fixture
def calm(runbook: Runbook) -> Iterator[Runbook]:
    """``runbook run`` of the same parameters."""
    return lambda *arguments: runbook(*options(), *arguments)


def drift(sandbox: Cluster, directory: Path) -> tuple[int, dict[str, Any]]:
    """``runbook diff``: the exit code, and the objects that aren't in sync."""
    done = sandbox.runbook("diff", str(directory), "--json")
    found = json.loads(done.stdout)
    assert "objects" in found, done.stderr
    names = {f"{each['kind']} {each['name']}": each for each in found["objects"] if each["state"] != "in sync"}
    return done.returncode, names


def test_applied_by_kubectl_the_notebooks_change_nothing(sandbox: Cluster, tree: Path, calm: Runbook) -> None:
    code, missing = drift(sandbox, tree)
    assert code == 1 and {each["state"] for each in missing.values()} == {"missing"}

    for layer in LAYERS:
        apply(sandbox, tree, layer)
        if layer == "weights":  # as its README says
            sandbox.kubectl(
                "label",
                "nodes",
                "--selector=feature.node.kubernetes.io/pci-10de.present=true",
                "hardware-type=nvidia-gpu",
            )
            for namespace in ("llm", "llm-models"):
                create_key(sandbox, namespace)
                sandbox.kubectl("-n", namespace, "wait", "--for=condition=complete", "job", "--all", "--timeout=80s")

    for chosen in (("--to", "07"), ("11", "-p", "canary.image=null"), ("13", "-p", "wake=false")):
        done = calm(*chosen)
        assert done.code == 0, done.out + done.err
        assert done.summary["changed"] == 0 and done.out.splitlines()[-2:][0] == "nothing changed"
    assert drift(sandbox, tree) == (0, {})


def test_what_others_change_is_found(sandbox: Cluster, tree: Path) -> None:
    """After the test above."""
    llm = ("-n", "llm")
    sandbox.kubectl(*llm, "scale", "deployment/vllm-inference", "--replicas=2")
    assert drift(sandbox, tree) == (0, {})  # the autoscaler's field

    patch = json.dumps({"spec": {"progressDeadlineSeconds": 4321}})
    sandbox.kubectl(*llm, "patch", "deployment", "vllm-inference", "--patch", patch)
    sandbox.kubectl(*llm, "delete", "poddisruptionbudget", "vllm-inference")
    code, found = drift(sandbox, tree)
    assert code == 1 and set(found) == {"Deployment vllm-inference", "PodDisruptionBudget vllm-inference"}
    changed = found["Deployment vllm-inference"]
    assert changed["managers"] == ["kubectl-patch"] and "4321 ->" in changed["fields"][0]
    assert found["PodDisruptionBudget vllm-inference"]["state"] == "missing"
    told = sandbox.runbook("diff", str(tree))
    assert told.returncode == 1
    assert "drifted Deployment llm/vllm-inference (by kubectl-patch)" in told.stdout

    apply(sandbox, tree, "serving", "--force-conflicts")
    assert drift(sandbox, tree) == (0, {})


def test_notebook_12_leaves_everything_as_it_was(sandbox: Cluster, tree: Path, calm: Runbook, tmp_path: Path) -> None:
    """After the tests above."""
    before = sandbox.get("deployment", "vllm-inference", "-n", "llm")["metadata"]
    done = calm("12", "-p", f"directory={tmp_path / 'out'}")
    assert done.code == 0, done.out + done.err
    kept = json.loads((ROOT / "notebooks" / "12_gitops.ipynb").read_text())["cells"]
    assert done.verdict("12_gitops") == verdict_of(kept)
    assert drift(sandbox, tree) == (0, {})
    after = sandbox.get("deployment", "vllm-inference", "-n", "llm")
    template = after["metadata"]["annotations"]["deployment.kubernetes.io/revision"]
    assert template == before["annotations"]["deployment.kubernetes.io/revision"] and not after["spec"].get("paused")
    assert (tmp_path / "out" / "helm" / "Chart.yaml").is_file()
    assert done.summary["changed"] == 0


def test_installed_by_helm_the_notebooks_change_nothing(
    sandbox: Cluster, tree: Path, calm: Runbook, tmp_path: Path
) -> None:
    """In another namespace of the same cluster, whose infrastructure is there (after the tests above)."""
    space, chart = "namespace=shop", tmp_path / "chart"
    chosen = ("--notebook", "03", "--notebook", "04")
    assert sandbox.runbook("export", "helm", str(chart), *options(space), *chosen).returncode == 0
    namespace = helm(sandbox, "template", chart, "--show-only=templates/infrastructure/03_storage_weights.yaml")
    sandbox.kubectl("apply", "--server-side", "-f", "-", stdin=namespace)
    try:
        helm(sandbox, "install", chart, "--set=layers.infrastructure=false,layers.serving=false")
        sandbox.kubectl("-n", "shop", "wait", "--for=condition=complete", "job/prefetch-weights", "--timeout=60s")
        create_key(sandbox, "shop")
        helm(sandbox, "upgrade", chart, "--set=layers.infrastructure=false")
        done = calm("03", "04", "-p", space)
        assert done.code == 0, done.out + done.err
        assert done.summary["changed"] == 0
        assert sandbox.runbook("diff", str(chart)).returncode == 0

        larger = json.dumps({"spec": {"resources": {"requests": {"storage": "99Gi"}}}})
        sandbox.kubectl("-n", "shop", "patch", "pvc", "model-weights", "--patch", larger)
        told = sandbox.runbook("diff", str(chart))
        assert told.returncode == 1 and "drifted PersistentVolumeClaim shop/model-weights: a claim can't" in told.stdout
        assert "~ spec.resources.requests.storage: 99Gi -> " in told.stdout

        refused = calm("04", "-p", space, "-p", "max_model_len=512")
        assert refused.code == 1 and "belongs to Helm" in refused.err
    finally:
        helm(sandbox, "uninstall")
        sandbox.kubectl("delete", "namespace", "shop", "--wait=false")


def create_key(sandbox: Cluster, namespace: str) -> None:
    """Secrets are in no export: it names those that must be there."""
    value = f"--from-literal=key={secrets.token_hex(16)}"
    sandbox.kubectl("-n", namespace, "create", "secret", "generic", "vllm-api-key", value)


def apply(sandbox: Cluster, tree: Path, layer: str, *options: str) -> None:
    """Stock kubectl, and no namespace of its own."""
    program = binaries.ensure("kubectl")["kubectl"]
    command = [str(program), "--kubeconfig", str(sandbox.kubeconfig), "apply", "--server-side", *options, "-k"]
    done = subprocess.run([*command, str(tree / "overlays" / "sandbox" / layer)], capture_output=True, text=True)
    assert done.returncode == 0 and "Warning" not in done.stderr, done.stderr


def helm(sandbox: Cluster, verb: str, chart: Path | None = None, *arguments: str) -> str:
    binaries.ensure("helm")
    command = [str(tools.find("helm")), "--kubeconfig", str(sandbox.kubeconfig), verb, "vllm"]
    command += [str(chart), "--values", str(chart / "values-sandbox.yaml"), *arguments] if chart else []
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout
