"""Starts: the refused port, and the ways to fail that need no GPU."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from simulated_vllm import Server, Start, listens

from .conftest import MayHang

Models = Callable[[str], Path]


@pytest.mark.parametrize("flag", ["--disable-log-requests", "--not-a-flag", "--swap-space"])
def test_an_unknown_flag_exits_2(start: Start, flag: str) -> None:
    server = start(flag, ready=False)
    assert server.ended() == 2
    assert f"vllm: error: unrecognized arguments: {flag}" in server.said


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["-tp=3"], r"attention heads \(4\) must be divisible by tensor parallel size \(3\)"),
        (["--max-model-len=4096"], r"User-specified max_model_len \(4096\) is greater than the derived"),
        (["--max-num-seqs=many"], r"vllm serve: error: argument --max-num-seqs: invalid"),
        (["--dtype=int3"], r"vllm serve: error: argument --dtype: invalid choice: 'int3'"),
    ],
)
def test_what_can_not_work_ends_with_the_real_words(start: Start, flags: list[str], words: str) -> None:
    server = start(*flags, gpus=3, ready=False)
    assert server.ended() == (2 if "error: argument" in words else 1)
    assert re.search(words, server.said)


@pytest.fixture
def broken(models: Models, tmp_path: Path) -> Path:
    """A copy of the toy, to be damaged."""
    return Path(shutil.copytree(models("sandbox/tiny-llama"), tmp_path / "broken"))


def test_a_cut_shard(start: Start, broken: Path) -> None:
    shard = sorted(broken.glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-100])
    server = start(model=broken, ready=False)
    assert server.ended() == 1
    assert "incomplete metadata, file not fully covered" in server.said


def test_no_weights_at_all(start: Start, broken: Path) -> None:
    for shard in broken.glob("*.safetensors"):
        shard.unlink()
    server = start(model=broken, ready=False)
    assert server.ended() == 1
    assert f"Cannot find any model weights with `{broken}`" in server.said


def test_no_such_directory(start: Start, tmp_path: Path) -> None:
    server = start(model=tmp_path / "nowhere", ready=False)
    assert server.ended() == 1
    assert "Repo id must be in the form" in server.said


def test_a_hub_id_offline_needs_the_cache(start: Start, tmp_path: Path) -> None:
    environment = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    server = start(model=Path("sandbox/tiny-llama"), ready=False, environment=environment)
    assert server.ended() == 1
    assert "LocalEntryNotFoundError" in server.said


def test_a_hub_that_can_not_be_reached(start: Start, tmp_path: Path) -> None:
    environment = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"}
    assert start(model=Path("sandbox/tiny-llama"), ready=False, environment=environment).ended() == 1


def test_a_service_called_vllm_breaks_the_server(start: Start) -> None:
    server = start(ready=False, environment={"VLLM_PORT": "tcp://10.96.0.7:8000"})
    assert server.ended() == 1
    assert "VLLM_PORT 'tcp://10.96.0.7:8000' appears to be a URI" in server.said


def test_a_taken_port_is_an_error(start: Start, server: Server) -> None:
    second = start("--port", str(server.port), ready=False)
    assert second.ended() == 1
    assert "[Errno 98]" in second.said


def test_the_port_refuses_until_the_model_is_loaded(start: Start, real: bool) -> None:
    server = start(ready=False, environment={"SANDBOX_TIME_SCALE": "20"})
    server.wait_for("Starting to load model")
    with socket.socket() as client:
        assert client.connect_ex((server.host, server.port)) != 0
    server.wait_for("Application startup complete")
    if real:
        listens(server)  # uvicorn says so just before
    with socket.socket() as client:
        assert client.connect_ex((server.host, server.port)) == 0


def test_sigterm_while_loading_ends_it(start: Start, may_hang: MayHang) -> None:
    server = start(ready=False, environment={"SANDBOX_TIME_SCALE": "1"})
    server.wait_for("Starting to load model")
    with may_hang(server, "it neither starts nor ends"):
        assert server.stop() == 0
