"""One notebook, executed by papermill in a kernel of this interpreter."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import papermill
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from ..choice import DRY_RUN
from ..verdict import RESULT_FILE
from .secrets import scrub, scrub_file
from .selection import Source
from .state import FAILED, INTERRUPTED, PASSED, Step

_KERNEL = "python3"
#: At its end a kernel is interrupted first. One that is still tidying up after its last cell would tell of that as an
#: error, in the middle of the run's own lines; errors of cells come as messages.
_QUIET = ["--IPKernelApp.log_level=CRITICAL"]

#: Bytes of a Unix socket's path on Linux, less what jupyter_client adds (``-5``).
_LONGEST_PATH = 107 - 4
_QUOTED_LINES = 8


def execute(
    source: Source,
    step: Step,
    output: Path,
    parameters: Mapping[str, Any],
    timeout: float | None,
    *,
    dry_run: bool = False,
) -> None:
    """Run a notebook; ``step`` gets status, time, result and error.

    The executed notebook is written as it goes, so that an interrupted one keeps its outputs.

    Raises:
        KeyboardInterrupt: passed on, after the kernel was ended and the step marked interrupted.
    """
    began = time.monotonic()
    step.error, step.result = {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        result = Path(scratch) / "result.json"
        told = {RESULT_FILE: str(result), "RUNBOOK_HEADLESS": "1", "RUNBOOK_PLOT_HTML": "0", DRY_RUN: str(int(dry_run))}
        try:
            with _environment(told):
                papermill.execute_notebook(
                    str(source.file),
                    str(output),
                    parameters=dict(parameters),
                    kernel_name=_KERNEL,
                    config=Config(NotebookClient={"extra_arguments": _QUIET}, KernelManager=_connection(scratch)),
                    cwd=str(source.file.parent),
                    progress_bar={"desc": source.name, "leave": False, "disable": None},
                    execution_timeout=timeout,
                    autosave_cell_every=5,
                )
            step.status = PASSED
        except KeyboardInterrupt:
            step.status = INTERRUPTED
            raise
        except PapermillExecutionError as error:
            step.status = FAILED
            step.error = {
                "ename": error.ename,
                "evalue": scrub(error.evalue),
                "cell": error.exec_count,
                "source": error.source.splitlines()[:_QUOTED_LINES],
            }
        except Exception as error:  # a dead kernel, a timeout, an unreadable notebook: all end the run with their words
            step.status = FAILED
            step.error = {"ename": type(error).__name__, "evalue": scrub(str(error)), "cell": None, "source": []}
        finally:
            step.seconds = round(time.monotonic() - began, 1)
            if result.is_file():
                step.result = json.loads(scrub(result.read_text(encoding="utf-8")))
            if output.is_file():
                _tidy(output)


def _connection(directory: str) -> dict[str, str]:
    """A kernel on Unix sockets in a directory of its own: nothing of it listens on a port.

    Where their paths would be too long it keeps to jupyter_client's way: ports of this machine, guarded by a key.
    """
    path = str(Path(directory) / "kernel")
    if len(os.fsencode(path)) > _LONGEST_PATH:
        return {}
    return {"transport": "ipc", "ip": path}


def _tidy(output: Path) -> None:
    """Scrub the executed notebook and drop what papermill adds about this machine."""
    book = nbformat.read(output, as_version=4)
    book.metadata.pop("papermill", None)
    for cell in book.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = _merged(cell.outputs)
    nbformat.write(book, output)
    scrub_file(output)


def _merged(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Text that was printed piece by piece as one output."""
    found: list[nbformat.NotebookNode] = []
    for output in outputs:
        last = found[-1] if found else None
        if last is not None and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            found.append(output)
    return found


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Variables for the kernel, which inherits them."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
