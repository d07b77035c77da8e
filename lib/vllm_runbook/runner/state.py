"""What a run has done so far, on disk after every notebook: summaries, resuming and the report read it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import RunbookError
from .secrets import scrub

PASSED, FAILED, INTERRUPTED, NOT_RUN, RUNNING = "passed", "failed", "interrupted", "not run", "running"
SKIPPED = "skipped"
STATE = "state.json"
LATEST = "latest"


@dataclass
class Step:
    """One notebook of a run.

    Attributes:
        result: what the notebook's verdict left (checks, changed, figures).
        error: ename, evalue, cell (its number) and source of the cell that failed.
        skipped: why it was left out.
    """

    name: str
    title: str
    status: str = NOT_RUN
    seconds: float = 0.0
    result: dict[str, Any] = field(default_factory=dict)
    error: dict[str, Any] = field(default_factory=dict)
    skipped: str = ""

    def skip(self, why: str) -> None:
        """Leave it out."""
        self.status, self.skipped = SKIPPED, why


@dataclass
class Run:
    """One run: a directory ``runs/<time>``."""

    directory: Path
    notebooks_dir: str
    parameters: dict[str, Any]
    steps: list[Step]
    started: str = ""
    ended: str = ""

    @property
    def status(self) -> str:
        """Failed or interrupted if one notebook is; passed if all are that weren't left out; else running."""
        states = {step.status for step in self.steps}
        for bad in (FAILED, INTERRUPTED):
            if bad in states:
                return bad
        return PASSED if states <= {PASSED, SKIPPED} else RUNNING

    @property
    def changed(self) -> int:
        """Objects that the run changed."""
        return sum(step.result.get("changed", 0) for step in self.steps)

    def save(self) -> None:
        """Write the state; never half of it."""
        document = {**asdict(self), "directory": self.directory.name, "status": self.status}
        target = self.directory / STATE
        draft = target.with_suffix(".tmp")
        draft.write_text(scrub(json.dumps(document, indent=1)), encoding="utf-8")
        draft.replace(target)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def load(directory: Path) -> Run | None:
    """The run of a directory, or None."""
    try:
        document = json.loads((directory / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    document.pop("status")
    steps = [Step(**step) for step in document.pop("steps")]
    return Run(**{**document, "directory": directory, "steps": steps})


def latest(runs_dir: Path) -> Run | None:
    """The newest run."""
    link = runs_dir / LATEST
    return load(link.resolve()) if link.is_symlink() else None


def begin(runs_dir: Path, notebooks_dir: Path, parameters: dict[str, Any], steps: list[Step]) -> Run:
    """Make a new run's directory and let ``latest`` point to it."""
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    directory = runs_dir / stamp
    number = 1
    while directory.exists():  # two runs within a second
        number += 1
        directory = runs_dir / f"{stamp}-{number}"
    directory.mkdir(parents=True)
    draft = runs_dir / f".{LATEST}"
    draft.unlink(missing_ok=True)
    draft.symlink_to(directory.name)
    draft.replace(runs_dir / LATEST)
    return Run(directory, str(notebooks_dir), parameters, steps, started=now())


def can_resume(run: Run | None, notebooks_dir: Path, parameters: dict[str, Any], names: list[str]) -> bool:
    """Whether the last run stopped in the middle of what is now asked for."""
    return (
        run is not None
        and run.status != PASSED
        and run.notebooks_dir == str(notebooks_dir)
        and run.parameters == json.loads(scrub(json.dumps(parameters)))
        and [step.name for step in run.steps] == names
    )


@contextmanager
def exclusive(runs_dir: Path) -> Iterator[None]:
    """One run at a time in a directory.

    Raises:
        RunbookError: another one is at work there.
    """
    runs_dir.mkdir(parents=True, exist_ok=True)
    with (runs_dir / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunbookError(
                f"Another run is at work in {runs_dir}", next_step="Wait for it, or use another --runs-dir."
            ) from error
        lock.write(str(os.getpid()))
        yield
