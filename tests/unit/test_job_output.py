"""What programs in Jobs print, and what they leave behind."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from vllm_runbook.job_output import Output, leave_sentence, secret


def test_the_secret_is_cleaned_from_everything_printed() -> None:
    stream = io.StringIO()
    output = Output(stream, "hf_secret")
    output.event("warning", message="Bearer hf_secret was refused")
    output.line("hf_secret")
    assert "hf_secret" not in stream.getvalue() and stream.getvalue().count("***") == 2


def test_the_sentence_is_the_last_line_and_the_termination_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KEY", "s3cret\n")
    leave_sentence("It failed\n  with s3cret.", "KEY", tmp_path / "log")
    assert capsys.readouterr().err == "It failed with ***.\n"
    assert (tmp_path / "log").read_text() == "It failed with ***."


def test_a_termination_log_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leave_sentence("It failed.", "KEY", tmp_path / "missing" / "log")
    first, last = capsys.readouterr().err.splitlines()
    assert first.endswith("can't be written: No such file or directory") and last == "It failed."


def test_a_secret_without_its_line_break(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "s3cret\n")
    assert secret("KEY") == "s3cret"
    monkeypatch.setenv("KEY", " ")
    assert secret("KEY") is None
    monkeypatch.delenv("KEY")
    assert secret("KEY") is None


def test_what_no_secret_looks_like_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "two words")
    with pytest.raises(ValueError, match="KEY contains characters that no token has") as caught:
        secret("KEY")
    assert "two" not in str(caught.value)
