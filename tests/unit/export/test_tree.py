"""Which files an export may write: its own, as it left them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from vllm_runbook.errors import RunbookError
from vllm_runbook.export import Request, request_of, write
from vllm_runbook.export.tree import RECORD

REQUEST = Request("kustomize", ("sandbox", "eks"), "tiny", {"max_model_len": "512"}, path="apps/vllm")


def test_again_it_changes_nothing(tmp_path: Path) -> None:
    first = write(tmp_path, REQUEST, {"a.yaml": "a\n", "b/c.yaml": "c\n"})
    assert sorted(first.written) == [RECORD, "a.yaml", "b/c.yaml"]
    again = write(tmp_path, REQUEST, {"a.yaml": "a\n", "b/c.yaml": "c\n"})
    assert not again.written and not again.removed and len(again.unchanged) == 3
    assert request_of(tmp_path) == REQUEST


def test_the_record_says_how_it_was_made(tmp_path: Path) -> None:
    write(tmp_path, REQUEST, {"a.yaml": "a\n"})
    record = yaml.safe_load((tmp_path / RECORD).read_text())
    assert record["command"] == (
        "runbook export kustomize DIR --platform sandbox --platform eks --model tiny -p max_model_len=512 "
        "--path apps/vllm"
    )
    assert record["version"]


def test_what_is_no_more_goes(tmp_path: Path) -> None:
    write(tmp_path, REQUEST, {"a.yaml": "a\n", "b/c.yaml": "c\n"})
    done = write(tmp_path, REQUEST, {"a.yaml": "A\n"})
    assert done.removed == ["b/c.yaml"] and not (tmp_path / "b").exists()
    assert (tmp_path / "a.yaml").read_text() == "A\n"


@pytest.mark.parametrize("name", ["edited.yaml", "gone.yaml", "foreign.yaml"])
def test_others_work_is_not_lost(tmp_path: Path, name: str) -> None:
    write(tmp_path, REQUEST, {"edited.yaml": "1\n", "gone.yaml": "1\n", "same.yaml": "1\n"})
    (tmp_path / name).write_text("mine\n")
    new = {"edited.yaml": "2\n", "foreign.yaml": "2\n", "same.yaml": "1\n"}
    with pytest.raises(RunbookError, match=f"1 files in .* changed or written by others\nWhy:  {name}\n"):
        write(tmp_path, REQUEST, new)
    assert (tmp_path / name).read_text() == "mine\n"
    assert {file.name for file in tmp_path.iterdir()} == {RECORD, "edited.yaml", "gone.yaml", "same.yaml", name}
    write(tmp_path, REQUEST, new, force=True)
    assert (tmp_path / "edited.yaml").read_text() == "2\n" and not (tmp_path / "gone.yaml").exists()


def test_files_of_others_elsewhere_stay(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("mine\n")
    write(tmp_path, REQUEST, {"a.yaml": "a\n"})
    write(tmp_path, REQUEST, {"b.yaml": "b\n"}, force=True)
    assert (tmp_path / "mine.yaml").read_text() == "mine\n"


def test_never_through_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "b").symlink_to(outside)
    with pytest.raises(RunbookError, match="b/c.yaml"):
        write(tree, REQUEST, {"b/c.yaml": "c\n"})
    with pytest.raises(RunbookError, match="behind a link"):
        write(tree, REQUEST, {"b/c.yaml": "c\n"}, force=True)
    assert not list(outside.iterdir())


@pytest.mark.parametrize("name", ["../x", "/etc/x"])
def test_a_record_that_leads_outside_is_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path, REQUEST, {"a.yaml": "a\n"})
    record = yaml.safe_load((tmp_path / RECORD).read_text())
    record["files"][name] = "0"
    (tmp_path / RECORD).write_text(yaml.safe_dump(record))
    with pytest.raises(RunbookError, match="outside"):
        write(tmp_path, REQUEST, {})


def test_the_other_form_has_its_own_directory(tmp_path: Path) -> None:
    write(tmp_path, REQUEST, {"a.yaml": "a\n"})
    with pytest.raises(RunbookError, match="has an export for kustomize"):
        write(tmp_path, Request("helm", ("sandbox",), "tiny"), {"a.yaml": "b\n"})


def test_no_export_here(tmp_path: Path) -> None:
    with pytest.raises(RunbookError, match="holds no export"):
        request_of(tmp_path)
    (tmp_path / RECORD).write_text("files: [")
    with pytest.raises(RunbookError, match="can't be read"):
        request_of(tmp_path)
