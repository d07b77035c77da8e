"""Measures what a container's processes hold of memory, and tells the node agent, which enforces the limit.

Counted is what the kernel can't take back: anonymous and shared memory, of every process of the container's session.
Pages of files (weights, libraries) aren't, as they don't lead to an OOM kill on a node either.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

PERIOD_S = 1.0
_COUNTED = re.compile(r"^(?:Pss_Anon|Pss_Shmem): +(\d+) kB", re.MULTILINE)


def begin(env: Mapping[str, str]) -> None:
    """Start measuring in a process of its own, which ends with the container.

    It is nobody's child (forked twice): the server, which becomes this process, would wait for its children.
    """
    address, token = env.get("SANDBOX_AGENT_SOCKET"), env.get("SANDBOX_CONTAINER_TOKEN")
    if not address or not token:
        return
    session = os.getsid(0)
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    if os.fork():
        os._exit(0)
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as agent:
        agent.connect(address)
        leader = os.pidfd_open(session)  # the container's first process: the server
        report(agent, token, session, leader)
    os._exit(0)


def report(agent: socket.socket, token: str, session: int, leader: int) -> None:
    """Tell the agent until the container's first process (a pidfd) has ended."""
    ended = select.poll()
    ended.register(leader, select.POLLIN)
    while not ended.poll(PERIOD_S * 1000):
        message = {"token": token, "memory_bytes": used(session)}
        agent.sendall(json.dumps(message).encode() + b"\n")


def used(session: int) -> int:
    """Bytes that the processes of a session hold for good."""
    return sum(_of(pid) for pid in _members(session))


def _members(session: int) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if os.getsid(int(entry.name)) == session:
                    yield int(entry.name)


def _of(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:  # it has ended
        return 0
    return 1024 * sum(map(int, _COUNTED.findall(text)))
