"""The directories that hold the volumes' files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vllm_sandbox.volumes.directories import Directories, remove_tree, used_bytes


@pytest.fixture
def directories(tmp_path: Path) -> Directories:
    return Directories(tmp_path / "state" / "volumes")


@pytest.mark.parametrize("handle", ["../other", "a/b", "", ".", "..", "-a", "Vol", "a b", "pvc-1.unfinished/.."])
def test_handle_cannot_leave_the_root(directories: Directories, handle: str) -> None:
    with pytest.raises(ValueError, match="volume handle"):
        directories.path(handle)


def test_creating_twice_keeps_the_files(directories: Directories) -> None:
    directories.create("pvc-1")
    (directories.path("pvc-1") / "file").write_text("kept")
    directories.create("pvc-1")
    assert (directories.path("pvc-1") / "file").read_text() == "kept"


def test_clone_keeps_links_and_modes(directories: Directories) -> None:
    directories.create("pvc-1")
    source = directories.path("pvc-1")
    (source / "blobs").mkdir()
    (source / "blobs" / "abc").write_text("weights")
    (source / "blobs" / "abc").chmod(0o640)
    (source / "model").symlink_to("blobs/abc")
    directories.clone("pvc-1", "pvc-2")
    copy = directories.path("pvc-2")
    assert os.readlink(copy / "model") == "blobs/abc", "the layout of a hub cache survives"
    assert (copy / "model").read_text() == "weights"
    assert (copy / "blobs" / "abc").stat().st_mode & 0o777 == 0o640


def test_interrupted_clone_starts_afresh(directories: Directories) -> None:
    directories.create("pvc-1")
    (directories.path("pvc-1") / "file").write_text("whole")
    half = directories.root / "pvc-2.unfinished"
    half.mkdir()
    (half / "stale").write_text("left by a killed sandbox")
    assert not directories.exists("pvc-2")
    directories.clone("pvc-1", "pvc-2")
    assert [file.name for file in directories.path("pvc-2").iterdir()] == ["file"]


def test_finished_clone_is_not_repeated(directories: Directories) -> None:
    directories.create("pvc-1")
    directories.clone("pvc-1", "pvc-2")
    (directories.path("pvc-2") / "file").write_text("written since")
    directories.clone("pvc-1", "pvc-2")
    assert (directories.path("pvc-2") / "file").exists()


def test_sweep_removes_half_made_copies_only(directories: Directories) -> None:
    directories.create("pvc-1")
    (directories.root / "pvc-2.unfinished").mkdir()
    directories.sweep()
    assert [entry.name for entry in directories.root.iterdir()] == ["pvc-1"]


def test_remove_does_not_follow_links(directories: Directories, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    (outside / "file").write_text("kept")
    directories.create("pvc-1")
    (directories.path("pvc-1") / "link").symlink_to(outside)
    directories.remove("pvc-1")
    directories.remove("pvc-1")
    assert not directories.exists("pvc-1")
    assert (outside / "file").exists()
    assert outside.stat().st_mode & 0o777 == 0o755


def test_remove_opens_read_only_directories(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "locked" / "inner").mkdir(parents=True)
    (tree / "locked" / "inner" / "file").write_text("x")
    for folder in (tree / "locked" / "inner", tree / "locked", tree):
        folder.chmod(0o500)
    remove_tree(tree)
    assert not tree.exists()


def test_used_bytes_counts_content_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(bytes(1000))
    os.link(tmp_path / "a" / "file", tmp_path / "hardlink")
    (tmp_path / "other").write_bytes(bytes(24))
    assert used_bytes(tmp_path) == 1024
