"""What was chosen in Lab's control panel: platform, model, dry run.

The index's kernel writes it, other notebooks' kernels read it. They find it by the Jupyter server that started
both (each kernel is told its process id), so that a choice ends with the server: nobody acts tomorrow on what was
chosen today. Programs that run notebooks start kernels of their own and never see it.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import platformdirs
import psutil

PLATFORM, MODEL = "sandbox", "qwen3-8b"
#: 1 or 0; overrules what was chosen.
DRY_RUN = "RUNBOOK_DRY_RUN"
#: What says no, also for RUNBOOK_HEADLESS.
NO = ("", "0", "false", "no")


@dataclass(frozen=True)
class Choice:
    """The defaults of every notebook's parameters cell, or what the panel says instead."""

    platform: str = PLATFORM
    model: str = MODEL
    dry_run: bool = False


def read() -> Choice | None:
    """What was chosen in this Jupyter server; nothing elsewhere, and as long as nobody chose."""
    server = _server()
    if server is None:
        return None
    try:
        document: dict[str, Any] = json.loads(_file(server).read_text(encoding="utf-8"))
        if document.pop("server_started") != server.create_time():
            return None  # of an earlier process with the same number
        return Choice(**document)
    except (OSError, ValueError, TypeError, KeyError, psutil.Error):
        return None


def write(choice: Choice) -> None:
    """Keep a choice for the notebooks of this Jupyter server; outside of one there is nobody to keep it for."""
    server = _server()
    if server is None:
        return
    target = _file(server)
    target.parent.mkdir(parents=True, exist_ok=True)
    for file in target.parent.glob("*.json"):
        if not psutil.pid_exists(int(file.stem)):
            file.unlink(missing_ok=True)
    draft = target.with_suffix(".tmp")
    draft.write_text(json.dumps({**asdict(choice), "server_started": server.create_time()}), encoding="utf-8")
    draft.replace(target)


def told_dry_run() -> bool | None:
    """What the environment says about a dry run, if anything."""
    told = os.environ.get(DRY_RUN)
    return None if told is None else told.strip().lower() not in NO


def _server() -> psutil.Process | None:
    """The process that started this kernel."""
    with contextlib.suppress(ValueError, psutil.Error):
        return psutil.Process(int(os.environ.get("JPY_PARENT_PID", "")))
    return None


def _file(server: psutil.Process) -> Path:
    return platformdirs.user_state_path("vllm-runbook") / "lab" / f"{server.pid}.json"
