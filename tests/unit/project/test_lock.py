"""requirements.lock: what `make` installs is what pyproject.toml asks for, the same everywhere."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "requirements.lock").read_text()
ANEW = "run: make lock"


def pinned() -> Iterator[tuple[Requirement, list[str]]]:
    """Each package with its hashes."""
    for entry in re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", TEXT, flags=re.M).strip()):
        first, *hashes = (line.strip(" \\") for line in entry.splitlines())
        yield Requirement(first), hashes


PINNED = [(item, hashes) for item, hashes in pinned() if item.marker is None or item.marker.evaluate()]
VERSIONS = {canonicalize_name(item.name): next(iter(item.specifier)).version for item, _ in PINNED}


def declared() -> list[Requirement]:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = document["project"]
    return [
        Requirement(text)
        for text in (
            *project["dependencies"],
            *project["optional-dependencies"]["dev"],
            *document["build-system"]["requires"],
        )
    ]


@pytest.mark.parametrize("wanted", declared(), ids=str)
def test_the_lock_satisfies_pyproject(wanted: Requirement) -> None:
    found = VERSIONS.get(canonicalize_name(wanted.name))
    assert found is not None, f"{wanted} isn't locked; {ANEW}"
    assert wanted.specifier.contains(found, prereleases=True), f"{wanted}, but {found} is locked; {ANEW}"


def test_every_package_is_one_version_with_hashes() -> None:
    assert len(VERSIONS) == len(PINNED) > 100
    for item, hashes in pinned():
        assert [part.operator for part in item.specifier] == ["=="], item
        assert hashes and all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", text) for text in hashes), item


def test_it_names_no_index_and_no_path() -> None:
    assert not re.search(r"://|--index|--find-links|--trusted|file:| @ ", TEXT)


def test_what_is_installed_here_is_what_is_locked() -> None:
    """Where the environment was made by `make`: it has everything, in these versions."""
    if not (ROOT / ".venv" / ".ready").is_file():
        pytest.skip("not an environment of make")
    different = {}
    for name, wanted in VERSIONS.items():
        try:
            found = version(name).removeprefix("v")  # as some write it: to PEP 440 it is the same
        except PackageNotFoundError:
            found = "missing"
        if found != wanted:
            different[name] = f"{found}, locked is {wanted}"
    assert different == {}, "make clean, then make test"
