"""What is to be downloaded: a revision resolved to a commit, and its files with sizes and digests."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from huggingface_hub import HfApi, constants
from huggingface_hub.utils import filter_repo_objects  # type: ignore[attr-defined]

from vllm_runbook.prefetch.hub_errors import Source, translate
from vllm_runbook.prefetch.outcomes import ExitCode, PrefetchError

INDEX = "model.safetensors.index.json"

# Publishers repeat the weights in other formats, which vLLM doesn't read once there are model*.safetensors.
REPEATED_WEIGHTS = (
    "original/*",
    "metal/*",
    "onnx/*",
    "consolidated*",
    "pytorch_model*",
    "*.pth",
    "*.gguf",
    "*.h5",
    "*.msgpack",
)


@dataclass(frozen=True)
class RemoteFile:
    """One file of the commit. ``sha256`` for files in LFS; all others have git's ``blob_id`` (SHA-1) only."""

    path: str
    size: int
    blob_id: str
    sha256: str | None = None

    @property
    def digest(self) -> str:
        return self.sha256 or self.blob_id


@dataclass(frozen=True)
class Selection:
    """Which files to take.

    Attributes:
        allow: patterns of which one must match; empty for all.
        ignore: patterns of which none may match.
        everything: take also what repeats the weights in another format. Patterns imply it.
    """

    allow: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    everything: bool = False

    def choose(self, files: Sequence[RemoteFile]) -> list[RemoteFile]:
        """The files to take, in the order listed."""
        ignore: tuple[str, ...] = self.ignore
        paths = {file.path for file in files}
        if not (self.allow or self.ignore or self.everything) and paths & {INDEX, "model.safetensors"}:
            ignore = REPEATED_WEIGHTS
        chosen = filter_repo_objects(
            files, allow_patterns=list(self.allow) or None, ignore_patterns=list(ignore), key=lambda file: file.path
        )
        return list(chosen)


@dataclass(frozen=True)
class Listing:
    """A commit's files, all of them or a selection."""

    commit: str
    files: tuple[RemoteFile, ...]

    @property
    def bytes(self) -> int:
        return sum(file.size for file in self.files)


def fetch_listing(source: Source) -> Listing:
    """Ask the hub for the revision's commit and files.

    Raises:
        PrefetchError: the hub refuses, or its answer makes no sense.
        Transient: the hub couldn't be reached or is overloaded.
    """
    api = HfApi(endpoint=source.endpoint, token=source.token or False)
    try:
        info = api.model_info(
            source.repo, revision=source.revision, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT
        )
    except Exception as error:
        raise translate(error, source) or _no_hub(source, error) from error
    if not info.sha or info.siblings is None:
        raise _no_hub(source, "the answer names no commit or no files")
    return Listing(info.sha, tuple(_file(sibling, source) for sibling in info.siblings))


def _no_hub(source: Source, reason: object) -> PrefetchError:
    return PrefetchError(
        ExitCode.NETWORK,
        f"{source.endpoint} doesn't answer as a Hugging Face hub does ({type(reason).__name__}: {reason}); "
        "check HF_ENDPOINT and the proxy.",
    )


def _file(sibling: Any, source: Source) -> RemoteFile:
    path = PurePosixPath(sibling.rfilename)
    if path.is_absolute() or ".." in path.parts or sibling.size is None or not sibling.blob_id:
        raise PrefetchError(
            ExitCode.CHECKSUM,
            f"{source} lists {sibling.rfilename!r} without size and digest, or outside of the repository, so it can't "
            "be trusted; check HF_ENDPOINT.",
        )
    return RemoteFile(str(path), sibling.size, sibling.blob_id, sibling.lfs.sha256 if sibling.lfs else None)


def check_index(index: Path, files: Iterable[RemoteFile]) -> None:
    """Every shard that the index names must be among ``files``.

    Raises:
        PrefetchError: a shard is missing, or the index can't be read.
    """
    try:
        named = set(json.loads(index.read_bytes())["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PrefetchError(
            ExitCode.CHECKSUM, f"{index.name} is not an index of shards ({error}); the model's repository is damaged."
        ) from error
    missing = sorted(named - {file.path for file in files})
    if missing:
        raise PrefetchError(
            ExitCode.CHECKSUM,
            f"{index.name} names {len(missing)} shards that are not among the files to download, first {missing[0]}; "
            "check --allow and --ignore, else the model's repository is incomplete.",
        )
