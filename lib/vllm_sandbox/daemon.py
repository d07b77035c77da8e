"""The sandbox's own process: proxy, nodes, volumes and hub on one event loop, and the watch over the rest."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from pathlib import Path

import uvloop

from vllm_sandbox.config import SandboxConfig
from vllm_sandbox.control_plane import ControlPlane
from vllm_sandbox.kube import Kube
from vllm_sandbox.lifecycle import State
from vllm_sandbox.paths import sandbox_dir
from vllm_sandbox.services import Sandbox, running_services

log = logging.getLogger("sandbox")


async def run(name: str, ready_fd: int) -> None:
    """Run until SIGTERM; tells the process that started it when everything is ready."""
    directory = sandbox_dir(name)
    state = State.read(directory)
    assert state, f"no state in {directory}"
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    plane = ControlPlane(name, directory)
    _watch(plane)
    async with Kube.from_kubeconfig(plane.kubeconfig) as kube:
        config = SandboxConfig(**state.config)
        async with running_services(Sandbox(name, state.id, directory, config, plane, kube)):
            _tell(ready_fd, "ready")
            await stop.wait()
            log.info("going down")


def _watch(plane: ControlPlane) -> None:
    """Log the death of a control plane component as soon as it happens."""
    loop = asyncio.get_running_loop()

    def died(component: str, handle: int) -> None:
        loop.remove_reader(handle)
        os.close(handle)
        log.error("%s", plane.death_of(component).message)

    for component, pid in plane.pids().items():
        handle = os.pidfd_open(pid)
        loop.add_reader(handle, died, component, handle)


def _tell(fd: int, word: str) -> None:
    with contextlib.suppress(OSError):  # who started us may be gone
        os.write(fd, word.encode() + b"\n")
        os.close(fd)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--ready-fd", type=int, required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    os.chdir(Path("/"))
    try:
        uvloop.run(run(options.name, options.ready_fd))
    except Exception as error:
        log.exception("the daemon failed")
        _tell(options.ready_fd, f"{type(error).__name__}: {error}".replace("\n", " "))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
