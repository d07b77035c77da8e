"""Complete downloads: what is in the target, the marker, running again, another revision."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vllm_runbook.prefetch.digests import matches
from vllm_runbook.prefetch.marker import MARKER, read_marker
from vllm_sandbox.hub.models import CATALOGUE
from vllm_sandbox.hub.repository import commit_of
from vllm_sandbox.hub.server import RunningHub, running_hub

from .conftest import GATED, SHARD, TINY, Prefetching, downloads

pytestmark = pytest.mark.asyncio


def check_target(target: Path, commit: str) -> None:
    """The marker is there, and every file is an ordinary one with the digest that the marker states."""
    import threading

    marker = read_marker(target)
    assert marker is not None and marker.commit == commit
    assert all(matches(target / file.path, file, threading.Event()) for file in marker.files)
    index = json.loads((target / "model.safetensors.index.json").read_text())
    shards = {path.name for path in target.glob("*.safetensors")}
    assert shards == set(index["weight_map"].values())
    assert not [path for path in target.rglob("*") if path.is_symlink() or path.name.endswith(".part")]


MAIN = commit_of(CATALOGUE[TINY], 2)
V1 = commit_of(CATALOGUE[TINY], 1)


async def test_a_complete_download(hub: RunningHub, prefetching: Prefetching) -> None:
    ended = await prefetching.run(hub.endpoint)
    assert ended.code == 0, ended.stderr
    check_target(prefetching.target, MAIN)
    assert ended.stdout.splitlines()[-1].startswith(f"complete: {TINY} commit {MAIN}, 10 files")
    last = ended.named("progress")[-1]
    assert last["bytes"] == last["total"] == last["received"] == ended.named("start")[0]["total"]
    assert last["files_done"] == last["files"] == 10
    assert ended.termination == ""


async def test_again_downloads_nothing(hub: RunningHub, prefetching: Prefetching, requests_seen: list[str]) -> None:
    await prefetching.run(hub.endpoint)
    requests_seen.clear()
    ended = await prefetching.run(hub.endpoint)
    assert ended.code == 0
    assert ended.stdout.splitlines()[-1].startswith("already complete")
    asked = [line for line in requests_seen if f"/{TINY}/" in line]  # the client may ask for things of its own
    assert len(asked) == 1 and not downloads(asked)


async def test_a_fixed_commit_that_is_complete_needs_no_hub(digest_cache: Path, prefetching: Prefetching) -> None:
    async with running_hub("127.0.0.1", 0, digest_cache) as hub:
        assert (await prefetching.run(hub.endpoint, "--revision", MAIN)).code == 0
    ended = await prefetching.run(hub.endpoint, "--revision", MAIN, "--attempts", "1")
    assert ended.code == 0 and not ended.named("warning")


async def test_a_branch_that_was_complete_survives_an_unreachable_hub(
    digest_cache: Path, prefetching: Prefetching
) -> None:
    async with running_hub("127.0.0.1", 0, digest_cache) as hub:
        assert (await prefetching.run(hub.endpoint)).code == 0
    ended = await prefetching.run(hub.endpoint, "--attempts", "2")
    assert ended.code == 0
    assert MAIN in ended.named("warning")[0]["message"]
    (prefetching.target / SHARD).unlink()
    assert (await prefetching.run(hub.endpoint, "--attempts", "2")).code == 15


async def test_a_missing_file_is_brought_back(
    hub: RunningHub, prefetching: Prefetching, requests_seen: list[str]
) -> None:
    await prefetching.run(hub.endpoint)
    (prefetching.target / SHARD).unlink()
    requests_seen.clear()
    assert (await prefetching.run(hub.endpoint)).code == 0
    assert len(downloads(requests_seen)) == len(downloads(requests_seen, SHARD)) == 1
    check_target(prefetching.target, MAIN)


async def test_verify_full_repairs_a_damaged_file(
    hub: RunningHub, prefetching: Prefetching, requests_seen: list[str]
) -> None:
    await prefetching.run(hub.endpoint)
    file = prefetching.target / SHARD
    damaged = bytearray(file.read_bytes())
    damaged[5000] ^= 1
    file.write_bytes(damaged)
    assert "already complete" in (await prefetching.run(hub.endpoint)).stdout
    requests_seen.clear()
    ended = await prefetching.run(hub.endpoint, "--verify", "full")
    assert ended.code == 0
    assert [event["file"] for event in ended.named("mismatch")] == [SHARD]
    assert len(downloads(requests_seen)) == 1
    check_target(prefetching.target, MAIN)
    assert "already complete" in (await prefetching.run(hub.endpoint, "--verify", "full")).stdout


async def test_another_revision_replaces_what_differs(
    hub: RunningHub, prefetching: Prefetching, requests_seen: list[str]
) -> None:
    await prefetching.run(hub.endpoint, "--revision", "v1")
    check_target(prefetching.target, V1)
    requests_seen.clear()
    await prefetching.run(hub.endpoint)
    check_target(prefetching.target, MAIN)
    assert {line.split("/")[-1].split()[0] for line in downloads(requests_seen)} == {
        path.name for path in prefetching.target.glob("*.safetensors")
    }


async def test_an_update_that_is_refused_leaves_the_old_version_usable(
    hub: RunningHub, prefetching: Prefetching
) -> None:
    await prefetching.run(hub.endpoint, "--revision", "v1")
    hub.faults.add({"kind": "status", "status": 403, "on": "files", "times": None})
    assert (await prefetching.run(hub.endpoint)).code == 10
    check_target(prefetching.target, V1)
    assert (await prefetching.run(hub.endpoint, "--capacity-bytes", "1000")).code == 13
    check_target(prefetching.target, V1)


async def test_repeated_weights_are_left_out_unless_asked_for(hub: RunningHub, prefetching: Prefetching) -> None:
    repo = "openai/gpt-oss-20b"
    ended = await prefetching.run(hub.endpoint, repo=repo)
    assert ended.code == 0
    assert not (prefetching.target / "original").exists() and not (prefetching.target / "metal").exists()
    everything = await prefetching.run(hub.endpoint, "--everything", repo=repo)
    assert everything.code == 0
    assert (prefetching.target / "metal" / "model.bin").stat().st_size > 10_000_000
    assert everything.named("start")[0]["total"] > 2.9 * ended.named("start")[0]["total"]


async def test_patterns(hub: RunningHub, prefetching: Prefetching) -> None:
    assert (
        await prefetching.run(hub.endpoint, "--allow", "*.json", "--ignore", "tokenizer*", "--ignore", "*index*")
    ).code == 0
    assert {path.name for path in prefetching.target.glob("[!.]*")} == {"config.json", "generation_config.json"}
    assert (await prefetching.run(hub.endpoint, "--allow", "*.zip")).code == 12


async def test_a_token_opens_a_gated_model_and_is_never_printed(hub: RunningHub, prefetching: Prefetching) -> None:
    token = "hf_sandbox_reader"
    ended = await prefetching.run(hub.endpoint, "--allow", "*config.json", repo=GATED, token=token + "\n")
    assert ended.code == 0, ended.stderr
    assert json.loads((prefetching.target / "config.json").read_text())["num_hidden_layers"] == 32
    assert token not in ended.stdout + ended.stderr
    assert all(token.encode() not in path.read_bytes() for path in prefetching.target.rglob("*") if path.is_file())


async def test_a_damaged_marker_counts_as_none(hub: RunningHub, prefetching: Prefetching) -> None:
    await prefetching.run(hub.endpoint)
    for text in ("", "{", "[]", '{"format": 99}', '{"format": 1}'):
        (prefetching.target / MARKER).write_text(text)
        ended = await prefetching.run(hub.endpoint)
        assert (ended.code, ended.named("progress")[-1]["received"]) == (0, 0)
        check_target(prefetching.target, MAIN)


async def test_a_target_with_another_model_is_left_alone(hub: RunningHub, prefetching: Prefetching) -> None:
    await prefetching.run(hub.endpoint)
    ended = await prefetching.run(hub.endpoint, repo="Qwen/Qwen3-8B")
    assert ended.code == 2
    assert f"holds {TINY}, not Qwen/Qwen3-8B" in ended.reason
    check_target(prefetching.target, MAIN)
