"""What every pod of the sandbox shares: the API, the sockets, the settings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from vllm_sandbox.kube import Kube
from vllm_sandbox.network import Network
from vllm_sandbox.node.events import EventRecorder
from vllm_sandbox.node.reports import ReportSocket

Object = dict[str, Any]


@dataclass(frozen=True)
class Runtime:
    """Shared by all nodes of one sandbox.

    Attributes:
        http: client session for probes and hooks.
        root: directory below which pods and nodes keep their files.
        api_server, ca_file: how pods reach the API server.
        base_env: variables that every container gets (sandbox marker, time scale).
        network: gives pods their way to each other.
        binary: finds one of the sandbox's binaries.
        services: the Services that a new container in ``namespace`` learns of.
        volumes_root: directory of all persistent volumes.
        time_scale: durations that take minutes in reality are divided by it.
    """

    kube: Kube
    http: aiohttp.ClientSession
    events: EventRecorder
    reports: ReportSocket
    root: Path
    api_server: str
    ca_file: Path
    base_env: dict[str, str]
    network: Network
    binary: Callable[[str], Path]
    services: Callable[[str], Awaitable[list[Object]]]
    volumes_root: Path
    time_scale: float
