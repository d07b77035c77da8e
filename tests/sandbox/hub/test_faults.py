"""Faults to order, and what the real client makes of them."""

from __future__ import annotations

import asyncio
import hashlib
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from huggingface_hub import HfApi, constants, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError

from vllm_sandbox.hub.server import RunningHub, running_hub

pytestmark = pytest.mark.asyncio

TINY = "sandbox/tiny-llama"
SHARD = "model-00001-of-00003.safetensors"


async def order(hub: RunningHub, **fault: Any) -> dict[str, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{hub.endpoint}/_sandbox/faults", json=fault) as answer,
    ):
        assert answer.status == 201, await answer.text()
        described: dict[str, Any] = await answer.json()
        return described


async def download(hub: RunningHub, directory: Path, file: str = SHARD) -> bytes:
    path = await asyncio.to_thread(
        lambda: hf_hub_download(TINY, file, local_dir=directory, endpoint=hub.endpoint, token=False)
    )
    return Path(path).read_bytes()


async def digest_of(hub: RunningHub, file: str = SHARD) -> str:
    info = await asyncio.to_thread(lambda: HfApi(endpoint=hub.endpoint, token=False).get_paths_info(TINY, [file]))
    lfs = getattr(info[0], "lfs", None)
    assert lfs is not None
    return str(lfs.sha256)


async def test_a_cut_download_resumes_with_a_range(
    hub: RunningHub, tmp_path: Path, requests_seen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The client keeps what it received in chunks of 10 MiB: a smaller chunk shows the resume on a small file.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)
    await order(hub, kind="cut", file=SHARD, after_bytes=100_000, times=2)
    data = await download(hub, tmp_path)
    assert hashlib.sha256(data).hexdigest() == await digest_of(hub)
    ranges = [line.split("range=")[1].split()[0] for line in requests_seen if line.startswith("GET /sandbox")]
    assert ranges[0] == "-"
    starts = [int(re.fullmatch(r"bytes=(\d+)-", wanted).group(1)) for wanted in ranges[1:]]  # type: ignore[union-attr]
    assert len(starts) == 2 and 0 < starts[0] <= 100_000 < starts[1] <= 200_000
    assert hub.faults.ordered()[0]["used"] == 2


async def test_the_client_does_not_notice_corrupt_content(hub: RunningHub, tmp_path: Path) -> None:
    await order(hub, kind="corrupt", file="*.safetensors")
    spoiled = await download(hub, tmp_path / "first")
    intact = await download(hub, tmp_path / "second")
    assert len(spoiled) == len(intact)
    assert [i for i in range(len(intact)) if spoiled[i] != intact[i]] == [len(intact) // 2]
    assert hashlib.sha256(intact).hexdigest() == await digest_of(hub)


async def test_429_is_retried_after_the_time_it_names(
    hub: RunningHub, tmp_path: Path, requests_seen: list[str]
) -> None:
    await order(hub, kind="status", status=429, retry_after=0, on="files", times=2)
    assert len(await download(hub, tmp_path, "config.json")) > 0
    assert sum("-> 429" in line for line in requests_seen) == 2


@pytest.mark.parametrize("status", [500, 503])
async def test_server_errors_on_the_api(hub: RunningHub, status: int) -> None:
    await order(hub, kind="status", status=status, on="api", repo=TINY)
    api = HfApi(endpoint=hub.endpoint, token=False)
    with pytest.raises(HfHubHTTPError) as caught:
        await asyncio.to_thread(lambda: api.model_info(TINY))
    assert caught.value.response.status_code == status
    assert (await asyncio.to_thread(lambda: api.model_info(TINY))).id == TINY


async def test_a_stalled_body_times_out_and_resumes(
    hub: RunningHub, tmp_path: Path, requests_seen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
    await order(hub, kind="stall", file=SHARD, after_bytes=50_000, seconds=600)
    data = await download(hub, tmp_path)
    assert hashlib.sha256(data).hexdigest() == await digest_of(hub)
    assert sum(line.startswith("GET /sandbox") for line in requests_seen) == 2


async def test_a_delay_lets_requests_time_out(hub: RunningHub) -> None:
    await order(hub, kind="delay", seconds=600, on="api")
    api = HfApi(endpoint=hub.endpoint, token=False)
    with pytest.raises(Exception, match="timed out"):
        await asyncio.to_thread(lambda: api.model_info(TINY, timeout=0.5))


async def test_faults_hit_only_what_they_name(hub: RunningHub, tmp_path: Path) -> None:
    await order(hub, kind="cut", file="other*", after_bytes=1)
    await order(hub, kind="status", status=500, repo="Qwen/*", times=None)
    assert len(await download(hub, tmp_path)) > 0
    assert [fault["used"] for fault in hub.faults.ordered()] == [0, 0]


async def test_faults_are_listed_cleared_and_validated(hub: RunningHub) -> None:
    await order(hub, kind="stall", seconds=3, times=None)
    async with aiohttp.ClientSession(hub.endpoint) as session:
        async with session.get("/_sandbox/faults") as answer:
            listed = await answer.json()
        assert listed == [
            {"id": 1, "used": 0, "kind": "stall", "seconds": 3, "after_bytes": 0, "repo": "*", "file": "*",
             "times": None}
        ]  # fmt: skip
        not_faults: tuple[Any, ...] = (
            {"kind": "cut"},
            {"kind": "meteor"},
            {"kind": "status", "status": 200},
            [],
            "cut",
        )
        for wrong in not_faults:
            async with session.post("/_sandbox/faults", json=wrong) as answer:
                assert answer.status == 422
                assert (await answer.json())["details"]
        async with session.post("/_sandbox/faults", data=b"{") as answer:
            assert answer.status == 400
        async with session.delete("/_sandbox/faults") as answer:
            assert await answer.json() == []
        async with session.put("/_sandbox/faults") as answer:
            assert answer.status == 405


async def test_ranges(hub: RunningHub) -> None:
    address = f"{hub.endpoint}/{TINY}/resolve/main/{SHARD}"
    async with aiohttp.ClientSession() as session:
        async with session.get(address) as answer:
            whole = await answer.read()
            assert answer.status == 200 and answer.headers["Accept-Ranges"] == "bytes"
            assert answer.headers["X-Linked-ETag"] == answer.headers["ETag"]
        for wanted, expected in {
            "bytes=10-19": whole[10:20],
            "bytes=-5": whole[-5:],
            f"bytes={len(whole) - 3}-": whole[-3:],
        }.items():
            async with session.get(address, headers={"Range": wanted}) as answer:
                assert (answer.status, await answer.read()) == (206, expected)
                assert answer.headers["Content-Range"].endswith(f"/{len(whole)}")
        async with session.get(address, headers={"Range": f"bytes={len(whole)}-"}) as answer:
            assert answer.status == 416
            assert answer.headers["Content-Range"] == f"bytes */{len(whole)}"
        async with session.head(address) as answer:
            assert int(answer.headers["X-Linked-Size"]) == int(answer.headers["Content-Length"]) == len(whole)


async def test_bandwidth_limit(digest_cache: Path) -> None:
    async with running_hub("127.0.0.1", 0, digest_cache, bytes_per_second=400_000) as hub:
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{hub.endpoint}/{TINY}/resolve/main/{SHARD}") as answer,
        ):
            size = len(await answer.read())
        assert loop.time() - began >= 0.9 * size / 400_000
