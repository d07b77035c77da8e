"""One run of a container: a process group of this machine with the container's environment."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vllm_sandbox.isolation import WriteFence
from vllm_sandbox.node.logs import ContainerLog

MESSAGE_BYTES = 4096  # what Kubernetes keeps of a termination message
LEFTOVER_S = 1.0  # how long output is read from grandchildren that outlive the container


@dataclass(frozen=True)
class Start:
    """How to start a container's process.

    Attributes:
        argv, env, cwd: as for exec.
        writable: directories that the process may write to; everything else is read-only.
        max_file_bytes: no file may grow beyond this (what is left on the smallest volume).
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    writable: Sequence[Path]
    max_file_bytes: int | None = None


class Process:
    """A running container."""

    def __init__(self, process: asyncio.subprocess.Process, output: asyncio.Task[None] | None) -> None:
        self._process = process
        self._output = output
        self.exited = asyncio.Event()
        self.exit_code = -1
        # a task of its own: whoever waits may be cancelled, and the end must be noticed all the same
        self._reaper = asyncio.get_running_loop().create_task(self._reap())

    @property
    def pid(self) -> int:
        return self._process.pid

    @classmethod
    async def start(cls, start: Start, log: ContainerLog) -> Process:
        """Start it in a session of its own; its output goes to ``log``."""
        process = await _spawn(start)
        assert process.stdout
        return cls(process, asyncio.get_running_loop().create_task(log.drain(process.stdout)))

    async def wait(self) -> int:
        """Exit code as a container runtime gives it: 128 + n after signal n."""
        await self.exited.wait()
        return self.exit_code

    async def _reap(self) -> None:
        """What the process leaves running dies with it, as in a container's PID namespace."""
        code = await self._process.wait()
        self.kill()
        if self._output:
            await asyncio.wait([self._output], timeout=LEFTOVER_S)
            self._output.cancel()
        self.exit_code = 128 - code if code < 0 else code
        self.exited.set()

    def terminate(self) -> None:
        """SIGTERM to the container's first process."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """SIGKILL to every process of the container."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)


async def execute(start: Start, timeout_s: float) -> tuple[int, str]:
    """Run a command beside the container (exec probe or hook): exit code and output.

    Raises:
        TimeoutError: it didn't end in time, and was killed.
    """
    process = await _spawn(start)
    try:
        async with asyncio.timeout(timeout_s):
            output, _ = await process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode or 0, output.decode(errors="replace")[-1024:]


async def _spawn(start: Start) -> asyncio.subprocess.Process:
    with WriteFence(start.writable) as fence:

        def in_child() -> None:
            if start.max_file_bytes is not None:
                # The limit is on every file: on a full volume, a message about it must still fit elsewhere.
                limit = max(start.max_file_bytes, MESSAGE_BYTES)
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            fence.enter()

        return await asyncio.create_subprocess_exec(
            *start.argv,
            env=dict(start.env),
            cwd=start.cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=in_child,
        )
