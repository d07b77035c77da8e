"""The prefetch's parts that need no process: patience, space, what is chosen, what is trusted."""

from __future__ import annotations

import errno
import json
import threading
from pathlib import Path

import pytest

from vllm_runbook.prefetch.listing import RemoteFile, Selection, check_index
from vllm_runbook.prefetch.outcomes import ExitCode, PrefetchError, Transient
from vllm_runbook.prefetch.retry import RetryPolicy, with_retries
from vllm_runbook.prefetch.space import check_space, free_bytes, translate_os_error


def test_pauses_double_up_to_a_limit_unless_the_hub_names_one() -> None:
    policy = RetryPolicy(first_wait=1, longest_wait=10)
    assert [policy.pause(failures, None) for failures in range(1, 7)] == [1, 2, 4, 8, 10, 10]
    assert policy.pause(1, 30) == 30


def test_bytes_that_arrive_begin_a_new_row_of_failures() -> None:
    outcomes = iter([Transient("a"), Transient("b", progressed=True), Transient("c"), None])

    def action() -> str:
        outcome = next(outcomes)
        if outcome is not None:
            raise outcome
        return "done"

    told: list[tuple[str, str, float]] = []
    policy = RetryPolicy(attempts=3, first_wait=0.001)
    result = with_retries(action, "It", policy, threading.Event(), lambda *pause: told.append(pause))
    assert result == "done"
    assert [(reason, seconds) for _, reason, seconds in told] == [("a", 0.001), ("b", 0.001), ("c", 0.002)]


def test_a_stop_ends_a_pause_at_once() -> None:
    def fail() -> None:
        raise Transient("down", retry_after=600)

    stop = threading.Event()
    stop.set()
    with pytest.raises(PrefetchError) as caught:
        with_retries(fail, "It", RetryPolicy(), stop, lambda *_: None)
    assert caught.value.code is ExitCode.INTERRUPTED


def test_space_is_compared_before_the_download(tmp_path: Path) -> None:
    check_space(tmp_path, total=100, missing=100, capacity=100)
    with pytest.raises(PrefetchError, match=r"needs 0\.0 MiB \(101 bytes\)") as caught:
        check_space(tmp_path, total=101, missing=1, capacity=100)
    assert caught.value.code is ExitCode.NO_SPACE
    with pytest.raises(PrefetchError, match=r"are still to download and .* free") as caught:
        check_space(tmp_path, total=2**60, missing=free_bytes(tmp_path) + 2**40, capacity=None)
    assert caught.value.code is ExitCode.NO_SPACE


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (errno.ENOSPC, ExitCode.NO_SPACE, "file system is full: 2.0 GiB"),
        (errno.EDQUOT, ExitCode.NO_SPACE, "quota is used up"),
        (errno.EFBIG, ExitCode.NO_SPACE, "files that large"),
        (errno.EROFS, ExitCode.TARGET, "mounted read-write"),
        (errno.EIO, ExitCode.TARGET, "can't be written"),
    ],
)
def test_failed_writes(tmp_path: Path, number: int, code: ExitCode, words: str) -> None:
    error = translate_os_error(OSError(number, "why"), tmp_path, 2 * 2**30)
    assert error.code is code and words in error.message


def _files(*paths: str) -> list[RemoteFile]:
    return [RemoteFile(path, 1, "0" * 40) for path in paths]


@pytest.mark.parametrize(
    ("selection", "chosen"),
    [
        (Selection(), ["config.json", "model.safetensors"]),
        (
            Selection(everything=True),
            ["config.json", "model.safetensors", "original/w.pth", "consolidated.safetensors"],
        ),
        (Selection(ignore=("*.json",)), ["model.safetensors", "original/w.pth", "consolidated.safetensors"]),
        (Selection(allow=("original/*",)), ["original/w.pth"]),
    ],
)
def test_selection(selection: Selection, chosen: list[str]) -> None:
    files = _files("config.json", "model.safetensors", "original/w.pth", "consolidated.safetensors")
    assert [file.path for file in selection.choose(files)] == chosen


def test_a_model_without_the_usual_weights_keeps_the_others() -> None:
    files = _files("params.json", "consolidated.safetensors")
    assert Selection().choose(files) == files


@pytest.mark.parametrize(("text", "words"), [("{}", "is not an index"), ("[1]", "is not an index"), ("{", "damaged")])
def test_a_broken_index(tmp_path: Path, text: str, words: str) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(text)
    with pytest.raises(PrefetchError, match=words):
        check_index(index, [])


def test_an_index_with_a_missing_shard(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}))
    check_index(index, _files("1.safetensors", "2.safetensors"))
    with pytest.raises(PrefetchError, match=r"names 1 shards .* first 2\.safetensors") as caught:
        check_index(index, _files("1.safetensors"))
    assert caught.value.code is ExitCode.CHECKSUM
