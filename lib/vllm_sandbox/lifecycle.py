"""Sandboxes from up to down: transactional, side by side, clean after crashes and reboots."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from vllm_sandbox import binaries, processes, real_vllm
from vllm_sandbox.binaries.table import CONTROL_PLANE
from vllm_sandbox.config import PROXY_PORT, SandboxConfig
from vllm_sandbox.control_plane import ControlPlane, last_lines
from vllm_sandbox.errors import SandboxError
from vllm_sandbox.paths import cache_dir, sandbox_dir, sandboxes_dir

DAEMON = "daemon"
SLOTS = 32
DAEMON_GRACE_S = 15.0
Say = Callable[[str], None]


@dataclass(frozen=True)
class State:
    """What is written down of a sandbox, from before its first process starts.

    Attributes:
        id: marker in the environment of its processes.
        pids: process ids by component, with their start times: a pid alone may be reused.
        complete: False until everything is up.
    """

    name: str
    id: str
    boot_id: str
    slot: int
    config: dict[str, Any]
    pids: dict[str, tuple[int, int]] = field(default_factory=dict)
    complete: bool = False

    @classmethod
    def read(cls, directory: Path) -> State | None:
        """The sandbox's state, or None when nothing (readable) was written."""
        with contextlib.suppress(FileNotFoundError, ValueError, TypeError):
            return cls(**json.loads((directory / "state.json").read_text()))
        return None

    def write(self, directory: Path) -> None:
        temporary = directory / ".state.json"
        temporary.write_text(json.dumps(asdict(self), indent=1))
        os.replace(temporary, directory / "state.json")

    def dead(self) -> list[str]:
        """Components that have ended, in the order of their start."""
        if self.boot_id != processes.boot_id():
            return list(self.pids)
        return [name for name, (pid, began) in self.pids.items() if processes.start_time(pid) != began]


@dataclass(frozen=True)
class Status:
    """Health of one sandbox.

    Attributes:
        state: ``running``, ``broken`` (a component has ended), ``stale`` (from before a reboot, or
            never completed) or ``absent``.
        dead: components that have ended, with the last lines of their logs.
    """

    name: str
    state: str
    kubeconfig: str | None = None
    components: dict[str, int] = field(default_factory=dict)
    dead: dict[str, str] = field(default_factory=dict)


def status(name: str) -> Status:
    """Whether the sandbox is up, and if not, what has ended and why."""
    directory = sandbox_dir(name)
    state = State.read(directory)
    if state is None:
        return Status(name, "stale" if directory.exists() else "absent")
    plane = ControlPlane(name, directory)
    pids = {component: pid for component, (pid, _) in state.pids.items()}
    gone = state.dead()
    if state.boot_id != processes.boot_id() or not state.complete:
        return Status(name, "stale", str(plane.kubeconfig), pids)
    dead = {component: last_lines(log_file(name, component)) for component in gone}
    return Status(name, "broken" if dead else "running", str(plane.kubeconfig), pids, dead)


def log_file(name: str, component: str) -> Path:
    """The log of a component of a sandbox."""
    directory = sandbox_dir(name)
    return directory / "daemon.log" if component == DAEMON else ControlPlane(name, directory).log_file(component)


def names() -> list[str]:
    """Every sandbox that left something behind, running or not."""
    base = sandboxes_dir()
    return sorted(entry.name for entry in base.iterdir() if entry.is_dir()) if base.is_dir() else []


def up(name: str, config: SandboxConfig, say: Say = print) -> ControlPlane:
    """Bring the sandbox up; does nothing when it is up already.

    Raises:
        SandboxError: with the component that failed and its last log lines. Nothing is left behind.
    """
    directory = sandbox_dir(name)
    plane = ControlPlane(name, directory)
    if config.engine == "vllm":
        real_vllm.require()
    found = binaries.ensure(*CONTROL_PLANE)
    with _locked(name):
        now = status(name)
        if now.state == "running":
            _require_same(name, State.read(directory), config)
            say(f"sandbox {name} is up already")
            return plane
        if now.state != "absent":
            say(f"sandbox {name} is {now.state}: cleaning up what is left of it")
            _remove(name)
        try:
            with alone_on_this_machine():
                state = _reserve(name, config)
                _start(plane, state, found, say)
        except BaseException:
            with _undisturbed():
                _remove(name)
            raise
    return plane


def down(name: str, say: Say = print) -> None:
    """End every process of the sandbox and remove its files."""
    directory = sandbox_dir(name)
    with _locked(name):
        if not directory.exists():
            say(f"there is no sandbox {name}")
            return
        with _undisturbed():
            _remove(name)
    say(f"sandbox {name} is down: no process and no file of it is left")


def _require_same(name: str, state: State | None, config: SandboxConfig) -> None:
    if state and SandboxConfig(**state.config) != config.model_copy(update={"slot": state.slot}):
        raise SandboxError(
            f"sandbox {name} is up with another configuration",
            next_step=f"`runbook sandbox down --name {name}` first, or use another --name",
        )


def _reserve(name: str, config: SandboxConfig) -> State:
    """Write the sandbox down, with a slot of addresses that no other one uses."""
    taken = {state.slot for other in names() if (state := State.read(sandboxes_dir() / other))}
    slot = next((slot for slot in range(SLOTS) if slot not in taken and _unused(config, slot)), None)
    if slot is None:
        raise SandboxError(
            f"all {SLOTS} address ranges are in use", next_step="`runbook sandbox down --name …` frees one"
        )
    directory = sandbox_dir(name)
    directory.mkdir(parents=True, mode=0o700)
    chosen = config.model_copy(update={"slot": slot})
    state = State(name, uuid.uuid4().hex, processes.boot_id(), slot, chosen.model_dump(mode="json"))
    state.write(directory)
    return state


def _unused(config: SandboxConfig, slot: int) -> bool:
    """Whether nobody else on this machine (another user, another state directory) uses a slot's proxy address."""
    address = config.model_copy(update={"slot": slot}).proxy_host, PROXY_PORT
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the proxy does: TIME_WAIT is no user
        probe.bind(address)
        return True
    return False


def _start(plane: ControlPlane, state: State, found: dict[str, Path], say: Say) -> None:
    marker = {processes.MARKER: state.id}
    say(f"sandbox {plane.name}: starting the control plane")
    plane.start(SandboxConfig(**state.config), found, marker)
    say(f"sandbox {plane.name}: starting nodes, network and storage")
    daemon = _start_daemon(plane, marker)
    pids = {**plane.pids(), DAEMON: daemon}
    timed = {component: (pid, processes.start_time(pid) or 0) for component, pid in pids.items()}
    replace(state, pids=timed, complete=True).write(plane.directory)
    say(f"sandbox {plane.name} is up; its kubeconfig is {plane.kubeconfig}")


def _start_daemon(plane: ControlPlane, marker: dict[str, str]) -> int:
    """Start the daemon and wait until it says that it is ready, or what went wrong."""
    log = plane.directory / "daemon.log"
    ready, tell = os.pipe()
    command = [sys.executable, "-m", "vllm_sandbox.daemon", "--name", plane.name, "--ready-fd", str(tell)]
    with log.open("ab") as out:
        process = subprocess.Popen(
            command,
            env={**os.environ, **marker},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            pass_fds=[tell],
            start_new_session=True,
        )
    os.close(tell)
    with os.fdopen(ready) as answers:
        word = answers.readline().strip()  # an empty line: the daemon ended before it was ready
    if word != "ready":
        raise SandboxError("the sandbox's daemon has ended", why=word or last_lines(log))
    return process.pid


def _remove(name: str) -> None:
    """End what runs and delete what lies there."""
    directory = sandbox_dir(name)
    state = State.read(directory)
    if state and state.boot_id == processes.boot_id():
        pid, began = state.pids.get(DAEMON, (0, 0))
        if pid and processes.start_time(pid) == began:
            processes.end([pid], DAEMON_GRACE_S)  # it ends its pods
        while left := processes.marked(state.id):
            processes.end(left, grace_s=0)  # their data is deleted next
    shutil.rmtree(directory, ignore_errors=True)
    if directory.exists():
        raise SandboxError(f"{directory} could not be removed", next_step="remove it by hand")


@contextlib.contextmanager
def _locked(name: str) -> Iterator[None]:
    with _lock_file(sandboxes_dir(), f".{name}.lock"):
        yield


@contextlib.contextmanager
def alone_on_this_machine() -> Iterator[None]:
    """From the choice of addresses until they are in use: two that start at once must not choose the same.

    In the cache, which sandboxes with other state directories share.
    """
    with _lock_file(cache_dir(), ".addresses.lock"):
        yield


@contextlib.contextmanager
def _lock_file(directory: Path, name: str) -> Iterator[None]:
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Cleaning up is not interrupted half-way by a second Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
