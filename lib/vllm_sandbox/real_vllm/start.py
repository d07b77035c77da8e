"""``python -m vllm_sandbox.real_vllm.start BIN serve MODEL …``: becomes the real server, in a container of the sandbox.

The container's own arguments and environment stay; what a process on this machine needs besides is added, and the
first line of the log says so. A child process measures the container's memory for the node agent.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from vllm_sandbox.real_vllm import VERSION, memory

API_SERVER = "vllm.entrypoints.openai.api_server"
#: GiB of keys and values; without it the server would take the share of the machine's memory that is meant for a GPU.
KV_CACHE_GIB = 1


def main(argv: Sequence[str]) -> int:
    """Replace this process by the server, whose programs are in the directory BIN."""
    where, kind, *given = argv
    flags, variables = additions(os.environ)
    if kind == "api-server":
        command = [f"{where}/python", "-m", API_SERVER, *given, *flags]
    else:
        command = [f"{where}/vllm", kind, *given, *(flags if kind == "serve" else [])]
    said = shlex.join([*(f"{name}={value}" for name, value in variables.items()), *flags])
    print(
        f"REAL vLLM {VERSION} on this machine's CPU; the container's GPUs are simulated and unused. Added: {said}",
        flush=True,
    )
    memory.begin(os.environ)
    os.execve(command[0], command, {**os.environ, **variables})


def additions(env: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Flags and variables that are put behind the container's own, which they override."""
    flags = ["--enforce-eager"]  # compiling for the CPU takes minutes, and a compiler
    variables = {
        "VLLM_CPU_KVCACHE_SPACE": str(KV_CACHE_GIB),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # else every replica binds itself to the same core
        "OMP_NUM_THREADS": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "TMPDIR": _writable(env),
    }
    if address := env.get("SANDBOX_POD_IP"):
        flags.append(f"--host={address}")
        variables["VLLM_HOST_IP"] = address
        # Its processes meet at Unix sockets. In the abstract namespace, since the paths of volumes are too long for
        # one, and since it leaves those that have files behind.
        variables["VLLM_RPC_BASE_PATH"] = f"@sandbox-{env.get('SANDBOX_CONTAINER_TOKEN', str(os.getpid()))[:16]}"
    return flags, variables


def _writable(env: Mapping[str, str]) -> str:
    """Where temporary files can go: the container's own place for them, or its home (a volume, in our manifests)."""
    candidates = [env[name] for name in ("TMPDIR", "HOME") if env.get(name)]
    return next((path for path in candidates if _can_write(path)), "/tmp")


def _can_write(path: str) -> bool:
    """By trying: what a read-only root file system refuses is not in the modes."""
    probe = Path(path) / f".writable-{os.getpid()}"
    try:
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
