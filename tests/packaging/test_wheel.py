"""The package as a user installs it: built, put into an environment of its own, and used from there."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from conftest import Cluster

ROOT = Path(__file__).parents[2]
VLLM = {f"tools/vllm/{name}" for name in ("requirements.in", "overrides.txt", "merges.py")}
#: What users don't need.
OF_UPKEEP = {
    *VLLM,
    *("tools/schemas.py", "tools/keda/render.py", "tools/dashboards.py"),
    *(f"tools/boards/{name}.py" for name in ("__init__", "panel", "service", "autoscaling", "gpus", "spot")),
}
KINDS = ("notebooks", "params", "manifests")


def tracked(*patterns: str) -> set[str]:
    done = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name for name in done.stdout.splitlines() if (ROOT / name).is_file()}


def execute(*command: str | Path, cwd: Path) -> str:
    env = {name: value for name, value in os.environ.items() if name not in ("KUBECONFIG", "PYTHONPATH", "RUNBOOK_DIR")}
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What git has, with what lies about in a directory that was built in and worked in before."""
    directory = tmp_path_factory.mktemp("tree")
    for name in tracked():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, directory / name)
    for name in ("notebooks/Untitled.ipynb", "build/lib/vllm_runbook/shipped/notebooks/01_renamed.ipynb"):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text("old")
    return directory


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built package; nothing is fetched."""
    out = tmp_path_factory.mktemp("out")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", out]
    execute(*map(str, pip), tree, cwd=out)
    (built,) = out.glob("*.whl")
    return built


def steps_to_copy() -> list[str]:
    """What docs/ci.md lets a user's CI run once the sandbox is up; of the notebooks only the first."""
    workflow = re.search(r"```yaml\n(.*?)```", (ROOT / "docs" / "ci.md").read_text(), re.S)
    assert workflow
    commands = [step.get("run", "") for step in yaml.safe_load(workflow.group(1))["jobs"]["notebooks"]["steps"]]
    checks = [text for text in commands if text.startswith(("runbook params", "runbook normalise"))]
    (nbval,) = (text for text in commands if "notebooks/0[0-4]*.ipynb" in text)
    texts = [*checks, nbval.replace("0[0-4]*", "00_preflight")]
    assert len(texts) == 3
    return [text.replace("[0-9]*", "00_preflight") for text in texts]


@dataclass(frozen=True)
class Installed:
    """A virtual environment with the wheel in it."""

    directory: Path

    def run(self, program: str, *arguments: str, cwd: Path) -> str:
        return execute(self.directory / "bin" / program, *arguments, cwd=cwd)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """What the package depends on comes from this environment, by a path after its own packages."""
    directory = tmp_path_factory.mktemp("user") / "venv"
    execute(sys.executable, "-m", "venv", "--without-pip", directory, cwd=ROOT)
    python = directory / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
    execute(*map(str, pip), wheel, cwd=directory)
    (packages,) = directory.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return Installed(directory)


def test_the_wheel_carries_what_the_repository_has(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    carried = {name.partition("/shipped/")[2] for name in names if "/shipped/" in name}
    assert carried == tracked(*KINDS, "tools") - OF_UPKEEP
    code = {name for name in names if "/shipped/" not in name and ".dist-info/" not in name}
    assert code == {name.removeprefix("lib/") for name in tracked("lib")}


def test_a_source_distribution_has_what_a_build_needs(tree: Path, tmp_path: Path) -> None:
    build = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    execute(sys.executable, "-c", build, tmp_path, cwd=tree)
    (source,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= (tracked(*KINDS, "tools", "lib") - OF_UPKEEP) | {
        "pyproject.toml",
        "setup.py",
        "README.md",
        "LICENSE",
    }


def test_nothing_is_read_from_the_repository(installed: Installed, tmp_path: Path) -> None:
    code = "import vllm_runbook, vllm_sandbox.paths as p; print(vllm_runbook.__file__, p.tools_dir(), sep='\\n')"
    places = installed.run("python", "-c", code, cwd=tmp_path).splitlines()
    assert all(Path(place).is_relative_to(installed.directory) for place in places)
    pins = installed.run("runbook", "sandbox", "versions", cwd=tmp_path)
    assert pins == execute(Path(sys.executable).parent / "runbook", "sandbox", "versions", cwd=tmp_path)
    checked = installed.run("runbook", "params", "check", cwd=tmp_path)
    assert checked == f"{len(tracked('params'))} parameter files are valid\n"


def test_what_init_copies_is_what_runs(sandbox: Cluster, installed: Installed, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    told = installed.run("runbook", "init", "mine", cwd=tmp_path)
    assert f"{len(tracked(*KINDS))} of {len(tracked(*KINDS))} files written" in told
    platform = mine / "params" / "platforms" / "sandbox.yaml"
    platform.write_text(platform.read_text().replace("title: Embedded sandbox", "title: My own sandbox"))
    manifest = mine / "manifests" / "device-plugin.yaml"
    item = yaml.safe_load(manifest.read_text())
    item["metadata"].setdefault("labels", {})["example.com/edited"] = "here"
    manifest.write_text(yaml.safe_dump(item))
    book = mine / "notebooks" / "00_preflight.ipynb"
    cells = json.loads(book.read_text())
    cells["cells"][-1]["source"] = ["Edited by me."]
    book.write_text(json.dumps(cells))

    try:
        out = installed.run("runbook", "run", "--to", "01", cwd=mine)
        assert "00_preflight" in out and "01_device_plugin" in out and "installed notebooks" not in out
        executed = (mine / "runs" / "latest" / "00_preflight.ipynb").read_text()
        assert "My own sandbox" in executed and "Edited by me." in executed
        kind, name, namespace = item["kind"], item["metadata"]["name"], item["metadata"]["namespace"]
        labels = sandbox.get(kind, name, "-n", namespace)["metadata"]["labels"]
        assert labels["example.com/edited"] == "here"
        installed.run("runbook", "normalise", "notebooks/00_preflight.ipynb", cwd=mine)
        for command in steps_to_copy():
            program, *arguments = shlex.split(command)
            installed.run(program, *arguments, cwd=mine)
        elsewhere = installed.run("runbook", "run", "00", "--fresh", cwd=tmp_path)
        assert "the installed notebooks, params and manifests" in elsewhere
        untouched = (tmp_path / "runs" / "latest" / "00_preflight.ipynb").read_text()
        assert "Embedded sandbox" in untouched and "Edited by me." not in untouched
    finally:
        installed.run("runbook", "run", "10", cwd=mine)
