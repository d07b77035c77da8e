"""How a notebook ends: what was checked, in words that are the same every time, and a result for the runner.

The text holds no times, counts of bytes or generated names, so that it can be stored in the notebook and
compared (nbval). Measured values go into the result: figures, for summary.json and the report.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .errors import RunbookError

#: Where the runner wants a notebook's result; without it none is written.
RESULT_FILE = "RUNBOOK_RESULT"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. ``name`` is a statement; ``detail`` says more when it doesn't hold."""

    name: str
    ok: bool
    detail: str = ""


@dataclass
class Result:
    """Everything that one notebook found out and did.

    Attributes:
        changed, unchanged: numbers of objects.
        figures: measured values by name, with the unit in the name (``ttft_seconds``).
        simulated: whether the cluster says that parts of it are; notice: in which words.
        dry_run: whether nothing could be changed; then ``would_change`` is the number of objects that would have been.
    """

    step: str
    title: str
    cluster: str = ""
    simulated: bool = False
    notice: str = ""
    checks: list[Check] = field(default_factory=list)
    changed: int = 0
    unchanged: int = 0
    figures: dict[str, Any] = field(default_factory=dict)
    dry_run: bool = False
    would_change: int = 0

    @property
    def ok(self) -> bool:
        """Whether something was checked and everything held; a dry run may end before anything can be checked."""
        return (bool(self.checks) or self.dry_run) and all(check.ok for check in self.checks)

    def check(self, name: str, ok: bool, detail: str = "") -> None:
        """Note a check; one with the same name is replaced, so that a cell can be run again."""
        self.checks = [check for check in self.checks if check.name != name]
        self.checks.append(Check(name, bool(ok), detail))

    def close(self, ended: str = "") -> None:
        """Print the verdict and leave the result for the runner.

        Args:
            ended: why a dry run ended early.

        Raises:
            RunbookError: a check failed, or nothing was checked.
        """
        print(self.text(ended))
        self.save()
        if not self.ok:
            failed = [check for check in self.checks if not check.ok]
            why = "\n".join(f"{check.name}: {check.detail}" for check in failed) or "no check was made"
            raise RunbookError(f"{self.title}: not everything holds", why=why)

    def text(self, ended: str = "") -> str:
        """The verdict in plain text."""
        lines = [f"{self.title}: {self._word()}"]
        for check in self.checks:
            detail = f": {check.detail}" if check.detail and not check.ok else ""
            lines.append(f"  {'ok ' if check.ok else 'NOT'}  {check.name}{detail}")
        if ended:
            lines.append(f"  it ends here: {ended}")
        return "\n".join(lines)

    def _word(self) -> str:
        if not self.ok:
            return "DOES NOT HOLD"
        return f"dry run: {objects(self.would_change)} would change" if self.dry_run else "holds"

    def save(self) -> None:
        """Write the result where the runner wants it."""
        if target := os.environ.get(RESULT_FILE):
            Path(target).write_text(json.dumps({**asdict(self), "ok": self.ok}, indent=1), encoding="utf-8")


def objects(count: int) -> str:
    """``no object``, ``1 object``, ``2 objects``."""
    return f"{count or 'no'} object{'s' if count > 1 else ''}"
