"""Workflows, hooks and what docs/ci.md gives to copy: valid, pinned, least permissions, one thing to fill in."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent
DOC = (ROOT / "docs" / "ci.md").read_text()
WORKFLOW, PRE_COMMIT = re.findall(r"```yaml\n(.*?)```", DOC, re.S)
OURS = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
SETUP = (ROOT / ".github" / "actions" / "setup" / "action.yml").read_text()


def check(schema: str, file: Path) -> None:
    command = [str(BIN / "check-jsonschema"), "--builtin-schema", schema, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def steps(text: str) -> Iterator[dict[str, Any]]:
    document = yaml.safe_load(text)
    for part in (document["runs"],) if "runs" in document else document["jobs"].values():
        yield from part["steps"]


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ("vendor.github-workflows", OURS),
        ("custom.github-workflows-require-timeout", OURS),
        ("vendor.github-actions", SETUP),
        ("vendor.github-workflows", WORKFLOW),
        ("custom.github-workflows-require-timeout", WORKFLOW),
    ],
    ids=["ours", "ours, timeouts", "setup", "to copy", "to copy, timeouts"],
)
def test_workflows_are_valid(schema: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "workflow.yml"
    file.write_text(text)
    check(schema, file)


def test_the_schema_notices_a_typo(tmp_path: Path) -> None:
    file = tmp_path / "workflow.yml"
    file.write_text(WORKFLOW.replace("runs-on:", "run-on:"))
    with pytest.raises(AssertionError):
        check("vendor.github-workflows", file)


@pytest.mark.parametrize("text", [OURS, WORKFLOW], ids=["ours", "to copy"])
def test_workflows_may_only_read(text: str) -> None:
    document = yaml.safe_load(text)
    assert document["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in document["jobs"].values())
    assert "secrets." not in text and "pull_request_target" not in text
    checkouts = [step for step in steps(text) if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts and all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_actions_are_pinned_by_commit_and_the_same_everywhere() -> None:
    pins: dict[str, set[str]] = {}
    for line in re.findall(r"uses: (.*)", OURS + SETUP + WORKFLOW):
        if line == "./.github/actions/setup":
            continue
        action, commit, release = re.fullmatch(r"([\w/-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)", line).groups()  # type: ignore[union-attr]
        pins.setdefault(action, set()).add(f"{commit} {release}")
    assert pins and all(len(found) == 1 for found in pins.values())


def test_programs_are_cached_by_their_pins() -> None:
    (cache,) = (step for step in steps(SETUP) if step.get("uses", "").startswith("actions/cache@"))
    for pattern in re.search(r"hashFiles\((.*)\)", cache["with"]["key"]).group(1).split(", "):  # type: ignore[union-attr]
        assert list(ROOT.glob(pattern.strip("'"))), pattern
    assert "runner.arch" in cache["with"]["key"]


@pytest.mark.parametrize(
    "step", [step for step in (*steps(OURS), *steps(SETUP)) if "run" in step], ids=lambda s: s["run"]
)
def test_our_steps_are_targets_of_make(step: dict[str, Any]) -> None:
    assert re.match(r"make [\w./]+", step["run"])
    done = subprocess.run(["bash", "-ec", step["run"] + " --dry-run"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_owner_is_all_that_is_to_be_filled_in() -> None:
    for file in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/ci.md", "docs/upgrading.md"):
        text = (ROOT / file).read_text()
        owners = set(re.findall(r"github\.com/([\w.-]+)/vllm-runbook", text))
        assert owners <= {"OWNER"}, file
        assert not re.search(r"\b(?:TODO|FIXME|CHANGEME|REPLACE|YOUR[-_]\w+|xxx)\b|<(?:your|owner)", text, re.I), file
    assert "`OWNER` stands for" in DOC and "OWNER" in WORKFLOW and "OWNER" in PRE_COMMIT
    assert "OWNER" not in OURS + SETUP


def test_the_version_to_copy_is_this_one() -> None:
    from importlib.metadata import version

    tag = f"v{version('vllm-runbook')}"
    assert yaml.safe_load(WORKFLOW)["env"]["VERSION"] == tag
    assert yaml.safe_load(PRE_COMMIT)["repos"][0]["rev"] == tag
    assert f"\n## {tag[1:]}\n" in (ROOT / "CHANGELOG.md").read_text()


def test_what_is_volatile_is_replaced_and_nothing_else() -> None:
    """nbval's own sanitizer is this loop."""
    rules = configparser.ConfigParser()
    rules.read(ROOT / "notebooks" / "nbval-sanitize.cfg")

    def sanitized(text: str) -> str:
        for section in rules.sections():
            text = re.sub(rules[section]["regex"], rules[section]["replace"], text)
        return text

    text = "at 2026-11-26T21:31:34Z vllm-inference-7c9d8f7b5d-x2v4q on 10.244.1.7:8000 was ready after 12.5 s"
    assert sanitized(text) == "at TIME vllm-inference-POD on ADDRESS was ready after DURATION"
    for book in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        cells = json.loads(book.read_text())["cells"]
        verdict = "".join(text for cell in cells for output in cell.get("outputs", []) for text in output["text"])
        assert verdict and sanitized(verdict) == verdict, f"{book.name}: a verdict has something volatile"


class TestHooks:
    """The sample configuration, with this repository's hooks, in a user's repository."""

    @pytest.fixture
    def users(self, tmp_path: Path) -> Path:
        hooks, users = tmp_path / "hooks", tmp_path / "users"
        for repository, name in ((hooks, ".pre-commit-hooks.yaml"), (users, "params"), (users, "notebooks")):
            repository.mkdir(exist_ok=True)
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, repository / name)
        for repository in (hooks, users):
            self.git(repository, "init", "--quiet")
            self.git(repository, "add", ".")
            self.git(repository, "-c", "user.name=n", "-c", "user.email=e@example.com", "commit", "-qm", "begin")
        config = yaml.safe_load(PRE_COMMIT)
        config["repos"][0] |= {"repo": str(hooks), "rev": self.git(hooks, "rev-parse", "HEAD").strip()}
        for hook in config["repos"][0]["hooks"]:
            hook["language"] = "system"  # this environment has the package: docs/ci.md says so, too
        (users / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
        return users

    @staticmethod
    def git(directory: Path, *arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=directory, capture_output=True, text=True, check=True, timeout=300
        ).stdout

    def commit(self, users: Path) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "PRE_COMMIT_HOME": str(users.parent / "home")}
        self.git(users, "add", ".")
        command = [str(BIN / "pre-commit"), "run"]
        return subprocess.run(command, cwd=users, env=env, capture_output=True, text=True, timeout=300)

    def test_a_typo_is_named_and_outputs_are_stripped(self, users: Path) -> None:
        file, book = users / "params/platforms/eks.yaml", users / "notebooks/00_preflight.ipynb"
        kept = book.read_text()
        file.write_text(file.read_text().replace("\nnamespace:", "\nnamespaec:"))
        book.write_text(
            kept.replace('"outputs": []', '"outputs": [{"name": "stdout", "output_type": "stream", "text": "x"}]', 1)
        )
        assert book.read_text() != kept
        refused = self.commit(users)
        assert refused.returncode == 1
        assert "namespaec" in refused.stdout and "Did you mean 'namespace'?" in refused.stdout
        assert "files were modified by this hook" in refused.stdout and book.read_text() == kept
        self.git(users, "checkout", "--quiet", "HEAD", "--", "params")
        assert self.commit(users).returncode == 0
