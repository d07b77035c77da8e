"""The real huggingface_hub client against the stand-in: downloads, listings and refusals."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile

from vllm_sandbox.hub.content import git_blob_sha1
from vllm_sandbox.hub.server import RunningHub, running_hub

pytestmark = pytest.mark.asyncio

TINY = "sandbox/tiny-llama"
GATED = "meta-llama/Llama-3.1-8B-Instruct"


def check_files(directory: Path, listed: list[RepoFile]) -> None:
    """Every listed file is there with its size and checksum; the index names exactly the shards that are there."""
    for file in listed:
        data = (directory / file.path).read_bytes()
        assert len(data) == file.size, file.path
        if file.lfs is None:
            assert git_blob_sha1(data) == file.blob_id, file.path
        else:
            assert hashlib.sha256(data).hexdigest() == file.lfs.sha256, file.path
    index = json.loads((directory / "model.safetensors.index.json").read_text())
    named = set(index["weight_map"].values())
    assert named == {path.name for path in directory.glob("model-*.safetensors")}


@pytest.mark.parametrize("repo_id", [TINY, "Qwen/Qwen3-8B"])
async def test_snapshot_download(hub: RunningHub, tmp_path: Path, repo_id: str) -> None:
    def download() -> list[RepoFile]:
        snapshot_download(repo_id, local_dir=tmp_path / "model", endpoint=hub.endpoint, token=False)
        tree = HfApi(endpoint=hub.endpoint, token=False).list_repo_tree(repo_id, recursive=True)
        return [entry for entry in tree if isinstance(entry, RepoFile)]

    check_files(tmp_path / "model", await asyncio.to_thread(download))


async def test_hf_download_command(hub: RunningHub, tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("hf")
    process = await asyncio.create_subprocess_exec(
        str(command), "download", TINY, "--local-dir", str(tmp_path / "model"), "--revision", "v1",
        env={**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_UPDATE_CHECK": "1"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, output.decode()
    tree = HfApi(endpoint=hub.endpoint, token=False).list_repo_tree
    listed = await asyncio.to_thread(lambda: list(tree(TINY, recursive=True, revision="v1")))
    check_files(tmp_path / "model", [entry for entry in listed if isinstance(entry, RepoFile)])


async def test_listing_is_paged(digest_cache: Path, requests_seen: list[str]) -> None:
    async with running_hub("127.0.0.1", 0, digest_cache, page_size=5) as hub:
        api = HfApi(endpoint=hub.endpoint, token=False)
        paged = await asyncio.to_thread(lambda: list(api.list_repo_tree("openai/gpt-oss-20b", recursive=True)))
        flat = await asyncio.to_thread(lambda: list(api.list_repo_tree("openai/gpt-oss-20b", expand=True)))
    paths = [entry.path for entry in paged]
    assert paths == sorted(paths) and len(paths) == len(set(paths))
    assert {"metal", "metal/model.bin", "original/model.safetensors", "config.json"} <= set(paths)
    assert {entry.path for entry in flat} == {path for path in paths if "/" not in path}
    assert all(entry.last_commit is not None for entry in flat)
    assert sum("recursive=true" in line for line in requests_seen) == -(-len(paths) // 5)


async def test_other_endpoints(hub: RunningHub) -> None:
    api = HfApi(endpoint=hub.endpoint, token="hf_sandbox_reader")

    def ask() -> None:
        assert api.whoami()["name"] == "sandbox-reader"
        info = api.model_info(GATED, files_metadata=True)
        assert info.gated == "manual" and info.siblings is not None
        assert all(sibling.size is not None for sibling in info.siblings)
        refs = api.list_repo_refs(TINY)
        assert [ref.name for ref in refs.branches] == ["main"]
        assert [ref.name for ref in refs.tags] == ["v1"]
        assert refs.tags[0].target_commit == api.model_info(TINY, revision="v1").sha != api.model_info(TINY).sha
        assert [e.path for e in api.get_paths_info(GATED, ["config.json", "original", "absent"])] == [
            "config.json",
            "original",
        ]
        api.auth_check(GATED)
        assert not api.file_exists(TINY, "absent.json")
        assert not api.repo_exists("sandbox/absent")

    await asyncio.to_thread(ask)


@pytest.mark.parametrize(("token", "status"), [(False, 401), ("hf_sandbox_noaccess", 403)])
async def test_gated_files_are_refused(hub: RunningHub, tmp_path: Path, token: str | bool, status: int) -> None:
    def download() -> None:
        snapshot_download(GATED, local_dir=tmp_path, endpoint=hub.endpoint, token=token)

    with pytest.raises(GatedRepoError) as caught:
        await asyncio.to_thread(download)
    assert caught.value.response.status_code == status
    assert "is restricted" in str(caught.value)
    assert not list(tmp_path.glob("*.json"))


async def test_a_granted_token_opens_a_renamed_gated_model(hub: RunningHub, tmp_path: Path) -> None:
    old_name = "meta-llama/Meta-Llama-3.1-70B-Instruct"
    path = await asyncio.to_thread(
        lambda: hf_hub_download(
            old_name, "config.json", local_dir=tmp_path, endpoint=hub.endpoint, token="hf_sandbox_reader"
        )
    )
    assert json.loads(Path(path).read_text())["num_hidden_layers"] == 80


@pytest.mark.parametrize(
    ("repo_id", "file", "revision", "token", "error", "status"),
    [
        ("sandbox/absent", "config.json", "main", False, RepositoryNotFoundError, 401),
        ("sandbox/absent", "config.json", "main", "hf_sandbox_reader", RepositoryNotFoundError, 404),
        ("absent", "config.json", "main", "hf_sandbox_reader", RepositoryNotFoundError, 404),
        (TINY, "absent.json", "main", False, RemoteEntryNotFoundError, 404),
        (TINY, "config.json", "v2", False, RevisionNotFoundError, 404),
        (TINY, "config.json", "main", "hf_wrong", HfHubHTTPError, 401),
    ],
)
async def test_refusals(
    hub: RunningHub, tmp_path: Path, repo_id: str, file: str, revision: str, token: str | bool,
    error: type[HfHubHTTPError], status: int,
) -> None:  # fmt: skip
    def download() -> None:
        hf_hub_download(repo_id, file, revision=revision, local_dir=tmp_path, endpoint=hub.endpoint, token=token)

    with pytest.raises(error) as caught:
        await asyncio.to_thread(download)
    assert caught.value.response.status_code == status
    if status != 401 or error is not HfHubHTTPError:
        return
    assert not isinstance(caught.value, LocalEntryNotFoundError | RepositoryNotFoundError)
    assert "Invalid credentials in Authorization header" in str(caught.value)
