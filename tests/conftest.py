"""A sandbox for the tests that need a cluster, as new for each file; most tests work in a namespace of their own."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from accounts import Accounts
from vllm_sandbox import binaries, lifecycle
from vllm_sandbox.config import ENGINES, SandboxConfig

TIMEOUT_S = 90
#: Of a new sandbox.
NODES = ("cpu-0", "gpu-0", "gpu-1", "gpu-2")
#: Kinds that notebooks and tests make objects of, for the whole cluster.
LASTING = (
    "namespaces",
    "customresourcedefinitions",
    "apiservices",
    "clusterroles",
    "clusterrolebindings",
    "priorityclasses",
    "storageclasses",
    "validatingwebhookconfigurations",
)

#: Files that take minutes begin first, so that no process is left with one when the others have nothing to do.
LONGEST = (
    "test_under_load.py",
    "test_story.py",
    "test_spot.py",
    "test_exact_rights.py",
    "test_drills.py",
    "test_faults_under_load.py",
    "test_canary.py",
    "test_multi_model.py",
    "test_nightly.py",
    "test_run.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.name, len(ranks)))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--engine",
        choices=ENGINES,
        default=os.environ.get("ENGINE") or ENGINES[0],
        help="what tests/conformance runs against: the simulated vLLM, or the real one (docs/real-vllm.md)",
    )


@dataclass(frozen=True)
class Cluster:
    """A running sandbox, driven by stock kubectl."""

    name: str
    kubeconfig: Path
    namespace: str = "default"

    def kubectl(self, *arguments: str, stdin: str | None = None, ok: bool = True, timeout: float = TIMEOUT_S) -> str:
        """Standard output of ``kubectl``; standard error too when ``ok`` is False."""
        program = str(binaries.ensure("kubectl")["kubectl"])
        command = [program, "--kubeconfig", str(self.kubeconfig), "-n", self.namespace, *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout)
        if ok:
            assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}{done.stdout}"
            return done.stdout
        return done.stdout + done.stderr

    def get(self, kind: str, name: str = "", *more: str) -> dict[str, Any]:
        found = self.kubectl("get", kind, *([name] if name else []), "-o", "json", *more)
        return dict(json.loads(found))

    def apply(self, manifest: str | dict[str, Any] | list[dict[str, Any]]) -> None:
        if isinstance(manifest, list):
            manifest = {"apiVersion": "v1", "kind": "List", "items": manifest}
        text = manifest if isinstance(manifest, str) else json.dumps(manifest)
        self.kubectl("apply", "-f", "-", stdin=text)

    def wait_defined(self, *kinds: str) -> None:
        """Wait until the API server serves kinds whose definitions were just made."""
        for kind in kinds:  # names first: before they are accepted there are no conditions, for kubectl an error
            self.wait(f"crd/{kind}", f"jsonpath={{.status.acceptedNames.plural}}={kind.partition('.')[0]}")
            self.wait(f"crd/{kind}", "condition=Established")

    def wait(self, what: str, condition: str, timeout: float = 60) -> None:
        self.kubectl("wait", what, f"--for={condition}", f"--timeout={timeout}s", timeout=timeout + 15)

    def runbook(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The ``runbook`` command, in this sandbox's surroundings."""
        command = [sys.executable, "-m", "runbook_cli.main", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=900)


@pytest.fixture(autouse=True)
def _users_directory() -> Iterator[None]:
    """A command in a test's own process tells its kernels whose params go with the notebooks: not the next test's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNBOOK_DIR", os.environ.get("RUNBOOK_DIR", ""))
        yield


@pytest.fixture(scope="session")
def _state_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A state directory of the tests' own: a user's sandbox stays alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield
        lifecycle.down("default")


@pytest.fixture(scope="module")
def sandbox(_state_directory: None) -> Iterator[Cluster]:
    """A sandbox called default. The next file gets the same one, or a new one if anything of this file's is left."""
    cluster = Cluster("default", lifecycle.up("default", SandboxConfig(time_scale=50)).kubeconfig)
    for name in NODES:  # one by one: of several, kubectl gives up on the first that isn't there yet
        cluster.kubectl("wait", "--for=create", f"node/{name}", "--timeout=60s")
    before = contents(cluster)
    yield cluster
    left = contents(cluster) ^ before
    if left:
        print(f"a new sandbox after this: {' '.join(sorted(left))}")
        lifecycle.down("default")


@pytest.fixture(scope="module")
def accounts(sandbox: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Accounts:
    """``accounts.kubeconfig("13", name="only-13")``: a kubeconfig with nothing but the rights of notebook 13."""
    return Accounts(sandbox, tmp_path_factory.mktemp("accounts"))


def contents(cluster: Cluster) -> set[str]:
    """What lasts in a sandbox beyond the namespaces of single tests: objects' names, and what the nodes are like."""
    found = cluster.kubectl("get", ",".join(LASTING), "-o", "name").split()
    nodes = {json.dumps([node["metadata"]["labels"], node["spec"]]) for node in cluster.get("nodes")["items"]}
    return {name for name in found if not name.startswith("namespace/test-")} | nodes


@pytest.fixture
def cluster(sandbox: Cluster) -> Iterator[Cluster]:
    """The sandbox with an empty namespace for one test."""
    namespace = f"test-{secrets.token_hex(3)}"
    sandbox.kubectl("create", "namespace", namespace)
    sandbox.kubectl("-n", namespace, "wait", "--for=create", "serviceaccount/default", "--timeout=30s")
    yield Cluster(sandbox.name, sandbox.kubeconfig, namespace)
    sandbox.kubectl("delete", "namespace", namespace, "--wait=false")
    sandbox.kubectl("-n", namespace, "delete", "pods", "--all", "--grace-period=0", "--force")
