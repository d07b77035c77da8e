"""One model repository at one revision: its files with what the hub's API says about them."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllm_sandbox.hub import adapters, safetensors, tokenizer
from vllm_sandbox.hub import content as contents
from vllm_sandbox.hub.content import Content
from vllm_sandbox.hub.models import ModelSpec

_LARGE_SUFFIXES = (".safetensors", ".pth", ".bin")
DATE = "2025-01-01T00:00:00.000Z"
"""When everything was committed: fixed, so that answers are the same every time."""


@dataclass(frozen=True)
class HubFile:
    """A file with its digests. ``sha256`` is set for large files only (those that the hub keeps in LFS)."""

    path: str
    content: Content
    blob_id: str
    sha256: str | None = None
    pointer_size: int = 0

    @property
    def etag(self) -> str:
        return self.sha256 or self.blob_id


@dataclass(frozen=True)
class Snapshot:
    """All files of a repository at one commit."""

    spec: ModelSpec
    commit: str
    files: dict[str, HubFile]


class DigestCache:
    """SHA-256 of generated contents, kept in a JSON file because they take seconds to compute."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "digests.json"
        self._lock = threading.Lock()
        directory.mkdir(parents=True, exist_ok=True)
        self._known: dict[str, str] = self._read()

    def _read(self) -> dict[str, str]:
        try:
            known = json.loads(self._file.read_text())
        except (FileNotFoundError, ValueError):
            return {}  # nothing yet, or damaged: everything here can be computed again
        return known if isinstance(known, dict) else {}

    def sha256(self, content: Content) -> str:
        """The content's SHA-256, computed on first use. Safe to call from several threads."""
        with self._lock:
            if content.key not in self._known:
                self._known[content.key] = contents.sha256(content)
            return self._known[content.key]

    def save(self) -> None:
        """Write what is known, replacing the file in one step."""
        with self._lock:
            handle, name = tempfile.mkstemp(dir=self._file.parent, prefix="digests.")
            with os.fdopen(handle, "w") as file:
                json.dump(self._known, file, indent=1, sort_keys=True)
            os.replace(name, self._file)


def commit_of(spec: ModelSpec, seed: int) -> str:
    """The commit id that stands for these contents."""
    return hashlib.sha1(f"{contents.GENERATOR} {spec!r} {seed}".encode(), usedforsecurity=False).hexdigest()


_USE = {
    True: "A server can load them; what it then says is random.",
    False: "They can't be used for inference, and the tokenizer is none of the model's.",
}


def _text(value: dict[str, Any]) -> Content:
    return Content(json.dumps(value, indent=2).encode() + b"\n")


def _readme(spec: ModelSpec) -> Content:
    return Content(
        f"""---
library_name: transformers
pipeline_tag: text-generation
---

# {spec.repo_id} (SIMULATED)

This is a synthetic stand-in, served by the sandbox's model hub. Architecture values in config.json are
those of the published model; the weights are pseudo-random numbers whose size is the real model's divided
by {spec.scale}. {_USE[spec.divisor == 1]}
""".encode()
    )


def _files(spec: ModelSpec, seed: int) -> dict[str, Content]:
    config = spec.architecture.config()
    root = f"{spec.repo_id}@{seed}"
    if spec.adapter_of:
        return {"README.md": _readme(spec), **adapters.files(spec, root)}
    weights = safetensors.weights(spec, root)
    total = sum(file.generated for file in weights.values())
    patterns = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in _LARGE_SUFFIXES)
    ids: dict[str, Any] = {
        key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id") if key in config
    }
    return {
        ".gitattributes": Content(patterns.encode()),
        "README.md": _readme(spec),
        "config.json": _text(config),
        "generation_config.json": _text({"do_sample": True, "temperature": 0.6, "top_p": 0.9, **ids}),
        **{path: _text(value) for path, value in tokenizer.files(spec.architecture.max_positions).items()},
        **weights,
        **{path: Content(b"", int(total * share), f"{root}/{path}") for path, share in spec.originals.items()},
    }


def _describe(path: str, content: Content, digests: DigestCache) -> HubFile:
    if not path.endswith(_LARGE_SUFFIXES):
        return HubFile(path, content, contents.git_blob_sha1(content.prefix))
    digest = digests.sha256(content)
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {content.size}\n".encode()
    return HubFile(path, content, contents.git_blob_sha1(pointer), digest, len(pointer))


def snapshot(spec: ModelSpec, seed: int, digests: DigestCache) -> Snapshot:
    """The repository's files at the revision with this seed. Computes missing digests: seconds for a large model."""
    files = {path: _describe(path, content, digests) for path, content in sorted(_files(spec, seed).items())}
    digests.save()
    return Snapshot(spec, commit_of(spec, seed), files)
