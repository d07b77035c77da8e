"""The real server as a process, started as the simulated one is (simulated_vllm)."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from simulated_vllm import Server, Start, begin, free_port, listens
from vllm_sandbox.real_vllm import install, start

#: A start takes half a minute on two idle cores (imports in three processes), and minutes on busy ones.
START_S = 600


@contextlib.contextmanager
def servers(models: Callable[[str], Path]) -> Iterator[Start]:
    """A function that starts real servers; they end with the context."""
    program = install.require()
    started: list[Server] = []
    with tempfile.TemporaryDirectory(prefix="vllm-") as home:

        def run(
            *flags: str,
            model: str | Path = "sandbox/tiny-llama",
            gpus: int = 1,
            ready: bool = True,
            environment: dict[str, str] | None = None,
        ) -> Server:
            port = free_port()
            target = models(model) if isinstance(model, str) else model
            added, variables = start.additions({"HOME": home})
            command = [str(program), "serve", str(target), f"--port={port}", "--host=127.0.0.1"]
            command += ["--served-model-name", "tiny", *added, *flags]
            plain = {"PATH": os.environ["PATH"], "HOME": home, "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
            env = {**plain, "HF_HUB_OFFLINE": "1", **variables, **(environment or {})}
            server = begin(command, env, port, patience_s=START_S, session=True)
            started.append(server)
            if ready:
                server.wait_for("Application startup complete")
                listens(server)
            return server

        try:
            yield run
        finally:
            for server in started:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(server.process.pid, signal.SIGKILL)
                server.process.wait()
