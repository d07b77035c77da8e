"""An image of the user's own, as docs/images.md describes it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vllm_sandbox import binaries, lifecycle

DOCS = Path(__file__).parents[3] / "docs" / "images.md"


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """State of its own, and a directory with what the page shows."""
    home = tmp_path_factory.mktemp("s")
    monkeypatch.setenv("XDG_STATE_HOME", str(home))
    monkeypatch.setenv("PYTHONPATH", str(home))
    for language, name in re.findall(r"```(python|yaml)\n# (\S+)", DOCS.read_text()):
        block = re.search(rf"```{language}\n# {name}\n(.*?)```", DOCS.read_text(), re.DOTALL)
        assert block
        (home / name).write_text(block.group(1))
    (home / "team_router.py").write_text("import sys; print('routing', *sys.argv[1:])")
    yield home
    lifecycle.down("images")


def up(home: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "runbook_cli.main", "sandbox", "up", "--name", "images"]
    return subprocess.run(
        [*command, "--config", str(home / "sandbox.yaml")], capture_output=True, text=True, timeout=120
    )


def test_the_documented_image_runs(home: Path) -> None:
    done = up(home)
    assert done.returncode == 0, done.stderr
    kubeconfig = home / "vllm-runbook" / "sandboxes" / "images" / "kubeconfig"
    kubectl = [str(binaries.ensure("kubectl")["kubectl"]), "--kubeconfig", str(kubeconfig)]

    def run(*arguments: str, stdin: str | None = None) -> str:
        command = [*kubectl, *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=90, check=True).stdout

    run("wait", "--for=create", "serviceaccount/default", "--timeout=30s")
    container = {"name": "c", "image": "registry.example.com/team/router:v1.0", "args": ["--to", "vllm"]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [container]}}
    pod["spec"]["restartPolicy"] = "Never"  # type: ignore[index]
    run("create", "-f", "-", stdin=json.dumps(pod))
    run("wait", "pod/p", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    assert run("logs", "p") == "routing --to vllm\n"


def test_a_module_that_is_not_there_is_named(home: Path) -> None:
    (home / "sandbox.yaml").write_text("images: [no_such_module]\n")
    done = up(home)
    assert done.returncode != 0
    assert "no_such_module" in done.stdout + done.stderr
    assert os.environ["PYTHONPATH"] == str(home)
