"""`runbook sandbox` as a user types it: up, down, crashes, reboots, interruptions."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vllm_sandbox import lifecycle, processes

RUNBOOK = [sys.executable, "-m", "runbook_cli.main", "sandbox"]


@pytest.fixture
def home(tmp_path_factory, monkeypatch):
    """State of its own; the path is short because Unix sockets lie below it."""
    home = tmp_path_factory.mktemp("s")
    monkeypatch.setenv("XDG_STATE_HOME", str(home))
    yield home / "vllm-runbook" / "sandboxes"
    for name in lifecycle.names():
        lifecycle.down(name)


def runbook(*arguments, code=0):
    done = subprocess.run([*RUNBOOK, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def state(home, name="default"):
    return json.loads((home / name / "state.json").read_text())


def kill(home, component, name="default"):
    pid = state(home, name)["pids"][component][0]
    handle = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    processes._wait([handle], 10)
    os.close(handle)


def test_up_is_idempotent_and_down_leaves_nothing(home):
    runbook("up")
    first = state(home)
    assert "is up already" in runbook("up")
    assert state(home) == first
    assert "running" in runbook("status")
    kubeconfig = runbook("kubeconfig").strip()
    assert Path(kubeconfig).stat().st_mode & 0o077 == 0
    assert "gpu-0" in runbook("kubectl", "get", "nodes")
    assert processes.marked(first["id"])
    runbook("down")
    assert processes.marked(first["id"]) == []
    assert not (home / "default").exists()
    assert "there is no sandbox" in runbook("down")
    assert "absent" in runbook("status", code=3)


def test_two_sandboxes_live_side_by_side(home):
    runbook("up", "--name", "one")
    runbook("up", "--name", "two")
    assert state(home, "one")["slot"] != state(home, "two")["slot"]
    runbook("down", "--name", "one")
    assert "running" in runbook("status", "--name", "two")
    assert "gpu-0" in runbook("kubectl", "--name", "two", "get", "nodes")
    runbook("down", "--all")
    assert runbook("list") == ""


def test_a_dead_component_is_named_with_its_last_words_and_up_mends_it(home):
    runbook("up")
    kill(home, "kube-scheduler")
    said = runbook("status", code=1)
    assert "broken" in said
    assert "last lines of kube-scheduler" in said
    assert "kube-scheduler has ended" in (home / "default" / "daemon.log").read_text()
    assert "is broken: cleaning up" in runbook("up")
    assert "running" in runbook("status")


def test_after_a_reboot_the_old_state_is_recognised(home):
    runbook("up")
    runbook("down")
    stale = home / "default"
    stale.mkdir()
    old = lifecycle.State("default", "0" * 32, "another-boot", 0, {}, {"etcd": (os.getpid(), 1)}, complete=True)
    old.write(stale)
    assert "stale" in runbook("status", code=1)
    assert "cleaning up" in runbook("up")
    assert os.getpid()  # the process that now has the old pid was left alone


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_up_is_cleaned_up(home, number):
    starting = subprocess.Popen([*RUNBOOK, "up"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert starting.stdout
    assert "starting the control plane" in starting.stdout.readline()
    starting.send_signal(number)
    starting.wait(timeout=60)
    assert starting.returncode != 0
    if number == signal.SIGINT:
        assert not (home / "default").exists()
    else:
        assert "stale" in runbook("status", code=1)
    runbook("up")
    assert "gpu-0" in runbook("kubectl", "get", "nodes")


def test_nothing_listens_beyond_the_loopback(home):
    runbook("up")
    pids = processes.marked(state(home)["id"])
    inodes = set()
    for pid in pids:
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = os.readlink(fd)
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                listening.append(fields[1])
    assert len(listening) >= 5
    assert [address for address in listening if not address.partition(":")[0].endswith("7F")] == []


def test_a_configuration_with_a_typo_names_the_field(home, tmp_path):
    file = tmp_path / "sandbox.yaml"
    file.write_text("nodes:\n- {name: a, gpu: 4}\n")
    said = runbook("up", "--config", str(file), code=1)
    assert "nodes.0.gpu" in said
    assert not (home / "default").exists()


def test_another_configuration_needs_a_down_first(home):
    runbook("up")
    assert "another configuration" in runbook("up", "--time-scale", "7", code=1)


def test_a_name_that_cannot_be(home):
    assert "can't name a sandbox" in runbook("up", "--name", "Not_OK", code=1)
