"""The real vLLM's surroundings, as far as they can be tried without it: its lock, what a container adds, memory."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from vllm_sandbox import paths
from vllm_sandbox.config import SandboxConfig
from vllm_sandbox.errors import SandboxError
from vllm_sandbox.images.catalogue import register_all
from vllm_sandbox.images.registry import Context, command_line, find
from vllm_sandbox.lifecycle import up
from vllm_sandbox.real_vllm import VERSION, install, memory, start
from vllm_sandbox.vllm import VERSION as SIMULATED

LOCK = install.lock_file().read_text()


def test_the_real_one_and_the_simulated_one_have_the_same_version() -> None:
    assert VERSION == SIMULATED


def test_every_package_of_the_lock_has_one_version_and_hashes() -> None:
    entries = re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", LOCK, flags=re.M).strip())
    assert len(entries) > 150
    for entry in entries:
        assert re.match(r"[a-z0-9._-]+==\S+( ; .*)? \\\n( +--hash=sha256:[0-9a-f]{64}( \\\n)?)+$", entry), entry[:80]
    assert not re.search(r"://|--index|--find-links", LOCK)


def test_without_it_a_sandbox_with_it_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    short = str(tmp_path_factory.mktemp("s"))  # a sandbox's sockets bear no long path
    monkeypatch.setenv("XDG_CACHE_HOME", short)
    monkeypatch.setenv("XDG_STATE_HOME", short)
    with pytest.raises(SandboxError, match="the real vLLM .* is not installed") as caught:
        up("default", SandboxConfig(engine="vllm"), say=lambda _: None)
    assert "runbook sandbox fetch vllm" in caught.value.next_step
    assert not (paths.sandboxes_dir() / "default").exists()


def test_an_installation_that_was_cut_short_is_not_taken_for_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (install.directory() / "bin").mkdir(parents=True)
    (install.directory() / "bin" / "vllm").touch()
    assert install.find() is None
    (install.directory() / ".ready").touch()
    assert install.find() == install.directory() / "bin" / "vllm"


def test_without_room_nothing_is_begun(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    full = os.statvfs_result((4096, 4096, 1000, 1000, 1000, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _path: full)
    with pytest.raises(SandboxError, match=r"it needs 7\.3 GiB, 0\.0 GiB are free"):
        install.ensure()
    assert list(install.directory().iterdir()) == []


def test_a_container_gets_what_a_process_needs_and_the_rest_stays(tmp_path: Path) -> None:
    env = {"SANDBOX_POD_IP": "127.244.1.7", "SANDBOX_CONTAINER_TOKEN": "f" * 32, "HOME": str(tmp_path)}
    flags, variables = start.additions({**env, "TMPDIR": "/proc/1"})
    assert flags == ["--enforce-eager", "--host=127.244.1.7"]
    assert variables["TMPDIR"] == str(tmp_path)
    assert variables["VLLM_HOST_IP"] == "127.244.1.7"
    assert variables["VLLM_RPC_BASE_PATH"].startswith("@")


def test_the_image_runs_the_engine_that_was_chosen(tmp_path: Path) -> None:
    context = Context("127.244.1.7", "gpu-0", {}, lambda _name: tmp_path)
    try:
        register_all(engine="vllm")
        image = find("vllm/vllm-openai:v0.32.0")
        assert not image.simulated
        real = ["-m", "vllm_sandbox.real_vllm.start", str(install.directory() / "bin")]
        assert command_line(image, [], ["/models/x"], context)[1:] == [*real, "serve", "/models/x"]
        api = ["-m", "vllm.entrypoints.openai.api_server", "--model=x"]
        assert command_line(image, ["python3"], api, context)[1:] == [*real, "api-server", "--model=x"]
    finally:
        register_all()
    assert command_line(find("vllm/vllm-openai:v0.32.0"), [], ["x"], context)[2] == "vllm_sandbox.vllm"


def test_memory_is_measured_and_told_until_the_container_ends(tmp_path: Path) -> None:
    """A container that holds 64 MiB, measured by the process that ``begin`` leaves in its session."""
    address = str(tmp_path / "agent.sock")
    code = (
        "import os, sys; from vllm_sandbox.real_vllm import memory; memory.begin(os.environ); held = b'x' * (64 << 20)"
    )
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(address)
        agent.listen()
        agent.settimeout(30)
        env = {**os.environ, "SANDBOX_AGENT_SOCKET": address, "SANDBOX_CONTAINER_TOKEN": "t"}
        command = [sys.executable, "-c", f"{code}; sys.stdin.read()"]
        with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, start_new_session=True) as process:
            connection, _ = agent.accept()
            with connection.makefile() as lines:
                message = json.loads(lines.readline())
                assert message["token"] == "t"
                assert 64 << 20 < message["memory_bytes"] < 256 << 20
                assert memory.used(os.getsid(process.pid)) > 64 << 20
                assert process.stdin
                process.stdin.close()
                process.wait(20)
                assert all(json.loads(line)["memory_bytes"] >= 0 for line in lines)  # and then the end
            connection.close()
