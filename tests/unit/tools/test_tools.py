"""Programs are found on PATH first, then where a package keeps them, and never fetched."""

from __future__ import annotations

from pathlib import Path

import pytest

from vllm_runbook import tools
from vllm_sandbox.binaries.providers import cached_path
from vllm_sandbox.binaries.table import TOOLS


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and an empty PATH."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def program(file: Path) -> Path:
    file.parent.mkdir(parents=True)
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)
    return file


def test_what_is_nowhere_is_none(cache: Path) -> None:
    assert tools.find("kubectl") is None and tools.find("no-such-program") is None


def test_the_sandbox_lends_what_its_cache_has(cache: Path) -> None:
    lent = program(cached_path(TOOLS["kubectl"]))
    assert tools.find("kubectl") == lent and tools.find("helm") is None


def test_path_comes_first(cache: Path) -> None:
    program(cached_path(TOOLS["kubectl"]))
    own = program(cache / "bin" / "kubectl")
    assert tools.find("kubectl") == own
