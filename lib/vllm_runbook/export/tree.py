"""A directory that this command writes, and only writes what it may: its own files, as it left them."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from ..errors import RunbookError
from . import text

#: Which command made the tree, and the digest of each of its files.
RECORD = ".vllm-runbook-export.yaml"
#: What a directory can be written for.
FORMS = ("kustomize", "helm", "kserve")
Files = Mapping[str, str]


@dataclass(frozen=True)
class Request:
    """What is exported, so that the same tree can be made again.

    Attributes:
        form: kustomize, helm or kserve.
        platforms, model: files of params, by name or path.
        overrides: single values by name, as for ``runbook run -p``.
        notebooks: only these; empty for all.
        repo, path, revision: where the tree will be, for Argo CD and Flux: URL, directory, branch.
    """

    form: str
    platforms: tuple[str, ...]
    model: str
    overrides: Mapping[str, str] = field(default_factory=dict)
    notebooks: tuple[str, ...] = ()
    repo: str = "https://git.example.com/platform/vllm.git"
    path: str = "."
    revision: str = "main"

    def command(self) -> str:
        """The command line that makes the tree."""
        words = ["runbook", "export", self.form, "DIR"]
        words += [f"--platform {name}" for name in self.platforms] + [f"--model {self.model}"]
        words += [f"--notebook {name}" for name in self.notebooks]
        words += [f"-p {shlex.quote(f'{name}={value}')}" for name, value in self.overrides.items()]
        defaults = Request(self.form, self.platforms, self.model)
        for option in ("repo", "path", "revision"):
            if (value := getattr(self, option)) != getattr(defaults, option):
                words.append(f"--{option} {shlex.quote(value)}")
        return " ".join(words)


def made_by(request: Request) -> str:
    """The command and the version, for the README."""
    return f"Made by `{request.command()}` (vllm-runbook {version('vllm-runbook')})."


#: The head of every file.
HEADER = "Made by `runbook export`: README.md says how. Edits keep it from being written again."


@dataclass
class Written:
    """What an export did, by file name."""

    written: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)


def write(directory: Path, request: Request, files: Files, *, force: bool = False) -> Written:
    """Write the files, and remove those of an earlier export that are no more.

    Args:
        files: contents by path in the directory.
        force: overwrite what others wrote or changed.

    Raises:
        RunbookError: a file in the way was written or changed by somebody else; nothing is written then.
    """
    before = _record(directory)
    if before and before["form"] != request.form and not force:
        raise RunbookError(
            f"{directory} has an export for {before['form']}",
            next_step="Use another directory; --force replaces it.",
        )
    digests: dict[str, str] = before.get("files", {})
    names = dict.fromkeys([*files, *digests])
    foreign = [name for name in names if not _may_replace(directory, name, files.get(name), digests)]
    if foreign and not force:
        raise RunbookError(
            f"{len(foreign)} files in {directory} were changed or written by others",
            why="\n".join(foreign),
            next_step="Nothing was written. Move your changes elsewhere (parameters, or an overlay of your own that "
            "has ours as a resource), or overwrite them: --force.",
        )
    done = Written()
    for name in digests:
        target = directory / name
        if name not in files and target.is_file() and not _linked(directory, target):
            target.unlink()
            _prune(directory, target.parent)
            done.removed.append(name)
    for name, content in {**files, RECORD: _described(request, files)}.items():
        _put(directory, name, content, done)
    return done


def _put(directory: Path, name: str, content: str, done: Written) -> None:
    target = directory / name
    if _linked(directory, target):
        raise RunbookError(f"{target} is behind a link", next_step="Remove the link: nothing is written through it.")
    if target.is_file() and target.read_bytes() == content.encode():
        done.unchanged.append(name)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content.encode())
    done.written.append(name)


def _linked(directory: Path, target: Path) -> bool:
    """Whether a file, or a directory on the way to it, is a symbolic link."""
    return any(each.is_symlink() for each in (target, *target.parents) if directory in each.parents)


def _may_replace(directory: Path, name: str, content: str | None, digests: Mapping[str, str]) -> bool:
    """Whether nothing of anybody else's would be lost."""
    target = directory / name
    if _linked(directory, target):
        return False
    if not target.exists():
        return not target.parent.exists() or target.parent.is_dir()
    if not target.is_file():
        return False
    there = target.read_bytes()
    return (content is not None and there == content.encode()) or _digest(there) == digests.get(name)


def _prune(directory: Path, folder: Path) -> None:
    while folder != directory and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _described(request: Request, files: Files) -> str:
    digests = {name: _digest(content.encode()) for name, content in sorted(files.items())}
    document = {
        "command": request.command(),
        "version": version("vllm-runbook"),
        "form": request.form,
        "platforms": list(request.platforms),
        "model": request.model,
        "overrides": dict(request.overrides),
        "notebooks": list(request.notebooks),
        "repo": request.repo,
        "path": request.path,
        "revision": request.revision,
        "files": digests,
    }
    head = "The next export replaces the files below as long as their SHA-256 is what it left; edited ones it keeps."
    return text.comment(head) + text.dump(document)


def _record(directory: Path) -> dict[str, Any]:
    """The record of the last export, or nothing.

    Raises:
        RunbookError: it isn't one, or names files outside the directory.
    """
    file = directory / RECORD
    if not file.exists():
        return {}
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
        names = [PurePosixPath(name) for name in found["files"]]
        sane = found["form"] in FORMS and not any(p.is_absolute() or ".." in p.parts for p in names)
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise RunbookError(f"{file} can't be read", why=str(error)) from error
    if not sane:
        raise RunbookError(f"{file} names files outside {directory}")
    return dict(found)


def request_of(directory: Path) -> Request:
    """How a tree was made.

    Raises:
        RunbookError: no export made it.
    """
    found = _record(directory)
    if not found:
        raise RunbookError(
            f"{directory} holds no export", next_step="Make one: runbook export kustomize DIR (or helm DIR)."
        )
    return Request(
        found["form"],
        tuple(found["platforms"]),
        found["model"],
        found["overrides"],
        tuple(found["notebooks"]),
        found["repo"],
        found["path"],
        found["revision"],
    )
