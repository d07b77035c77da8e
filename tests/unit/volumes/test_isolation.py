"""The write fence, on real processes."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from vllm_sandbox import isolation
from vllm_sandbox.isolation import WriteFence

# Runs one statement and says which error it met: 0 for none.
PROBE = """
import os, sys
try:
    exec(sys.argv[1])
    print(0)
except OSError as error:
    print(error.errno)
"""


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    """A tree that may be written to and one that may not, each with a file and a directory."""
    for name in ("open", "closed"):
        (tmp_path / name / "dir").mkdir(parents=True)
        (tmp_path / name / "file").write_text("content")
    return tmp_path / "open", tmp_path / "closed"


def attempt(statement: str, allowed: list[Path]) -> int:
    """errno of ``statement`` run by a child behind a fence."""
    with WriteFence(allowed) as fence:
        done = subprocess.run(
            [sys.executable, "-c", PROBE, statement], preexec_fn=fence.enter, capture_output=True, text=True, check=True
        )
    return int(done.stdout)


WRITES = {
    "create": "open({0!r} + '/new', 'w').write('x')",
    "overwrite": "open({0!r} + '/file', 'r+').write('x')",
    "append": "open({0!r} + '/file', 'a').write('x')",
    "truncate": "os.truncate({0!r} + '/file', 1)",
    "unlink": "os.unlink({0!r} + '/file')",
    "mkdir": "os.mkdir({0!r} + '/more')",
    "rmdir": "os.rmdir({0!r} + '/dir')",
    "symlink": "os.symlink('file', {0!r} + '/link')",
    "rename": "os.rename({0!r} + '/file', {0!r} + '/renamed')",
    "rename into a directory": "os.rename({0!r} + '/file', {0!r} + '/dir/file')",
    "hard link into a directory": "os.link({0!r} + '/file', {0!r} + '/dir/file')",
    "fifo": "os.mkfifo({0!r} + '/fifo')",
}


def test_this_kernel_has_landlock() -> None:
    assert isolation.available(), "the tests of read-only trees need Linux 5.13 with Landlock"


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_allowed_tree_can_be_written(trees: tuple[Path, Path], write: str) -> None:
    assert attempt(write.format(str(trees[0])), [trees[0]]) == 0


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_other_tree_refuses_writes(trees: tuple[Path, Path], write: str) -> None:
    # between directories the kernel may also answer as it does between file systems
    assert attempt(write.format(str(trees[1])), [trees[0]]) in (errno.EACCES, errno.EXDEV)
    assert (trees[1] / "file").read_text() == "content"
    assert sorted(p.name for p in trees[1].iterdir()) == ["dir", "file"]
    assert not any((trees[1] / "dir").iterdir())


def test_other_tree_can_be_read(trees: tuple[Path, Path]) -> None:
    assert attempt(f"assert open({str(trees[1] / 'file')!r}).read() == 'content'", [trees[0]]) == 0
    assert attempt(f"assert os.listdir({str(trees[1])!r})", []) == 0


def test_files_cannot_be_moved_out_of_a_closed_tree(trees: tuple[Path, Path]) -> None:
    move = f"os.rename({str(trees[1] / 'file')!r}, {str(trees[0] / 'stolen')!r})"
    assert attempt(move, [trees[0]]) in (errno.EACCES, errno.EXDEV)
    assert (trees[1] / "file").exists()


def test_rename_between_two_allowed_trees(trees: tuple[Path, Path]) -> None:
    move = f"os.rename({str(trees[1] / 'file')!r}, {str(trees[0] / 'moved')!r})"
    assert attempt(move, list(trees)) == 0
    assert (trees[0] / "moved").read_text() == "content"


def test_a_single_file_can_be_allowed(trees: tuple[Path, Path]) -> None:
    file = trees[1] / "file"
    assert attempt(f"open({str(file)!r}, 'w').write('new')", [file]) == 0
    assert file.read_text() == "new"
    assert attempt(f"os.unlink({str(file)!r})", [file]) == errno.EACCES


def test_devices_stay_writable() -> None:
    assert attempt("open('/dev/null', 'w').write('x')", []) == 0


def test_the_fence_holds_for_children_of_the_child(trees: tuple[Path, Path]) -> None:
    inner = f"open({str(trees[1] / 'new')!r}, 'w')"
    nested = f"import subprocess; print(subprocess.run([sys.executable, '-c', {inner!r}]).returncode); sys.exit()"
    assert attempt(nested, [trees[0]]) == 1
    assert not (trees[1] / "new").exists()


def test_the_parent_stays_free(trees: tuple[Path, Path]) -> None:
    attempt("pass", [trees[0]])
    (trees[1] / "new").write_text("the parent is not fenced")


def test_missing_tree_is_reported_in_the_parent(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        WriteFence([tmp_path / "nowhere"])


def test_restrict_writes_fences_the_caller(trees: tuple[Path, Path]) -> None:
    program = f"""
from pathlib import Path
from vllm_sandbox.isolation import restrict_writes
restrict_writes([Path({str(trees[0])!r})])
open({str(trees[0] / "new")!r}, "w").close()
open({str(trees[1] / "new")!r}, "w").close()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (trees[0] / "new").exists()
    assert "PermissionError" in done.stderr


def test_without_landlock_writes_go_through_with_one_warning(
    trees: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(isolation, "abi", lambda: 0)
    isolation._warn_once.cache_clear()
    for _ in range(2):
        assert attempt(f"open({str(trees[1] / 'new')!r}, 'w').write('x')", [trees[0]]) == 0
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "Landlock" in caplog.text
