"""runbook init and --upgrade: whose change is whose, and nothing of the user's is lost."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from vllm_runbook import files
from vllm_runbook.errors import RunbookError
from vllm_runbook.initialise import copies
from vllm_runbook.initialise.copies import State

ROOT = Path(__file__).parents[3]
NOTEBOOK = "notebooks/00_preflight.ipynb"
EKS, GKE, AKS = (f"params/platforms/{name}.yaml" for name in ("eks", "gke", "aks"))


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A user's directory, made by this version."""
    copies.copy(tmp_path / "mine")
    return tmp_path / "mine"


@pytest.fixture
def brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the next version brings: so far the same."""
    root = tmp_path / "brought"
    for kind in files.KINDS:
        shutil.copytree(ROOT / kind, root / kind)
    monkeypatch.setattr(files, "original", lambda: root)
    monkeypatch.setattr(copies, "installed", lambda: "9.0.0")
    return root


def add(file: Path, text: str) -> str:
    file.write_text(file.read_text() + text)
    return file.read_text()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "runbook_cli.main", "init", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_copies_what_git_has_and_works_there(mine: Path) -> None:
    listed = subprocess.run(["git", "ls-files", *files.KINDS], cwd=ROOT, capture_output=True, text=True, check=True)
    made = {str(file.relative_to(mine)) for file in mine.rglob("*") if file.is_file()} - {files.STAMP}
    assert made == set(listed.stdout.split())
    assert all((mine / name).read_bytes() == (ROOT / name).read_bytes() for name in made)
    stamp = copies.read_stamp(mine)
    assert stamp and stamp.version == copies.installed() and set(stamp.files) == made
    assert set(copies.compare(mine).values()) == {State.SAME}


def test_again_changes_nothing_and_brings_back_what_is_missing(mine: Path) -> None:
    (mine / EKS).unlink()
    before = (mine / GKE).stat().st_mtime_ns
    assert copies.copy(mine)[EKS] is State.DELETED
    assert (mine / EKS).is_file() and (mine / GKE).stat().st_mtime_ns == before


def test_changed_files_are_never_overwritten_unasked(mine: Path) -> None:
    text = add(mine / EKS, "# ours\n")
    (mine / GKE).unlink()
    done = run(str(mine))
    assert done.returncode == 2 and f"{EKS}: changed by you" in done.stderr and "--force" in done.stderr
    assert (mine / EKS).read_text() == text and not (mine / GKE).exists(), "nothing was written"
    forced = run(str(mine), "--force")
    assert forced.returncode == 0 and f"overwritten  {EKS} (changed by you)" in forced.stdout
    assert (mine / EKS).read_text() == (ROOT / EKS).read_text()


def test_files_of_the_same_name_in_a_directory_of_somebody_are_left_alone(tmp_path: Path) -> None:
    theirs = tmp_path / "manifests" / "namespace.yaml"
    theirs.parent.mkdir()
    theirs.write_text("theirs\n")
    done = run(str(tmp_path))
    assert done.returncode == 2 and "manifests/namespace.yaml: yours, of the same name" in done.stderr
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [theirs]


def test_the_repository_itself_is_refused() -> None:
    done = run(str(ROOT))
    assert done.returncode == 2 and "is the repository itself" in done.stderr
    assert not (ROOT / files.STAMP).exists()


def test_an_upgrade_tells_who_changed_what_and_loses_nothing(mine: Path, brought: Path) -> None:
    edited, both = add(mine / EKS, "# ours\n"), add(mine / GKE, "# ours\n")
    new = add(brought / GKE, "# new\n"), add(brought / AKS, "# new\n")
    (mine / "params/models/tiny.yaml").unlink()
    (brought / "params/models/newer.yaml").write_text("new: true\n")
    (mine / "params/models/own.yaml").write_text("own: true\n")
    for name in ("manifests/namespace.yaml", "manifests/disruption/pdb.yaml"):
        (brought / name).unlink()
    kept = add(mine / "manifests/disruption/pdb.yaml", "# ours\n")

    planned = copies.upgrade(mine, dry_run=True)
    assert (mine / AKS).read_text() != new[1], "a dry run changes nothing"
    states = copies.upgrade(mine)
    assert states == planned
    assert {name: state for name, state in states.items() if state is not State.SAME} == {
        EKS: State.EDITED,
        GKE: State.BOTH,
        AKS: State.UPDATED,
        "params/models/tiny.yaml": State.DELETED,
        "params/models/newer.yaml": State.MISSING,
        "manifests/namespace.yaml": State.DROPPED,
        "manifests/disruption/pdb.yaml": State.DROPPED_EDITED,
    }
    assert (mine / EKS).read_text() == edited and (mine / GKE).read_text() == both
    assert (mine / f"{GKE}.new").read_text() == new[0] and (mine / AKS).read_text() == new[1]
    assert not (mine / "params/models/tiny.yaml").exists() and not (mine / "manifests/namespace.yaml").exists()
    assert (mine / "params/models/newer.yaml").is_file() and (mine / "params/models/own.yaml").is_file()
    assert (mine / "manifests/disruption/pdb.yaml").read_text() == kept
    stamp = copies.read_stamp(mine)
    assert stamp and stamp.version == "9.0.0"

    again = copies.upgrade(mine)
    assert again[GKE] is State.EDITED, "taken note of: the merge is the user's"
    assert set(again.values()) == {State.SAME, State.EDITED, State.DELETED}


def test_a_notebook_that_was_only_run_is_updated(mine: Path, brought: Path) -> None:
    book = nbformat.read(mine / NOTEBOOK, as_version=4)
    for cell in book.cells:
        if cell.cell_type == "code" and "verdict" not in cell.metadata.get("tags", []):
            cell.outputs = [nbformat.v4.new_output("stream", text="seen\n")]
            cell.execution_count = 7
    book.metadata["widgets"] = {}
    nbformat.write(book, mine / NOTEBOOK)
    assert copies.compare(mine)[NOTEBOOK] is State.SAME
    text = (brought / NOTEBOOK).read_text().replace("# 00 Preflight", "# 00 Preflight, newer")
    (brought / NOTEBOOK).write_text(text)
    assert copies.upgrade(mine)[NOTEBOOK] is State.UPDATED
    assert (mine / NOTEBOOK).read_text() == text


@pytest.mark.parametrize("part", ["source", "verdict"])
def test_a_notebook_whose_words_or_verdict_the_user_changed_is_kept(mine: Path, brought: Path, part: str) -> None:
    book = nbformat.read(mine / NOTEBOOK, as_version=4)
    if part == "source":
        book.cells[1].source += "\nmore = 1"
    else:
        book.cells[-2].outputs[0].text += "on our platform\n"
    nbformat.write(book, mine / NOTEBOOK)
    before = (mine / NOTEBOOK).read_text()
    (brought / NOTEBOOK).write_text((brought / NOTEBOOK).read_text().replace("# 00 Preflight", "# 00 Newer"))
    assert copies.upgrade(mine)[NOTEBOOK] is State.BOTH
    assert (mine / NOTEBOOK).read_text() == before


def test_a_broken_notebook_is_a_changed_one(mine: Path, brought: Path) -> None:
    (mine / NOTEBOOK).write_text("{ half")
    assert copies.upgrade(mine)[NOTEBOOK] is State.EDITED
    assert (mine / NOTEBOOK).read_text() == "{ half"


def test_the_command_says_what_is_left_to_merge(mine: Path) -> None:
    stamp = json.loads((mine / files.STAMP).read_text())
    stamp["files"][EKS] = "as an older version had it"
    stamp["version"] = "0.0.9"
    (mine / files.STAMP).write_text(json.dumps(stamp))
    add(mine / EKS, "# ours\n")
    planned = run(str(mine), "--upgrade", "--dry-run")
    assert planned.returncode == 1 and "to merge" in planned.stdout and ".new" not in planned.stdout
    assert not (mine / f"{EKS}.new").exists()
    done = run(str(mine), "--upgrade")
    assert done.returncode == 1
    assert f"to merge     {EKS} (changed by you and by the new version)" in done.stdout
    assert f"{EKS}.new, then delete that" in done.stdout and "from version 0.0.9 to " in done.stdout
    assert run(str(mine), "--upgrade").returncode == 0


def test_upgrades_need_a_stamp_that_can_be_read(tmp_path: Path) -> None:
    with pytest.raises(RunbookError, match="didn't make"):
        copies.upgrade(tmp_path)
    (tmp_path / files.STAMP).write_text("{}")
    with pytest.raises(RunbookError, match="can't be read"):
        copies.upgrade(tmp_path)
    assert run(str(tmp_path), "--force", "--upgrade").returncode == 2
