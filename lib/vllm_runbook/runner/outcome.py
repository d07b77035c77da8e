"""A run in one line, and as the JSON document that a webhook gets."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from .secrets import scrub
from .state import FAILED, INTERRUPTED, PASSED, Run, Step

_LONGEST = 600


def line(run: Run, command: str) -> str:
    """``verify passed on CLUSTER: 3 of 3 notebooks, 21 of 21 checks, nothing changed, 14 s, TIME``."""
    checks = [check for step in run.steps for check in step.result.get("checks", [])]
    held = sum(bool(check["ok"]) for check in checks)
    passed = sum(step.status == PASSED for step in run.steps)
    changed = f"changed {run.changed}" if run.changed else "nothing changed"
    words = [
        f"{passed} of {len(run.steps)} notebooks",
        f"{held} of {len(checks)} checks",
        changed,
        f"{_seconds(run):.0f} s",
    ]
    where = next((f" on {step.result['cluster']}" for step in run.steps if step.result.get("cluster")), "")
    wrong = problems(run)
    text = f"{command} {run.status}{where}: {', '.join(words)}, {run.directory.name}"
    text += f"; {'; '.join(wrong)}" if wrong else ""
    flat = " ".join(scrub(text).split())
    return flat if len(flat) <= _LONGEST else flat[: _LONGEST - 1] + "…"


def problems(run: Run) -> list[str]:
    """What doesn't hold, by notebook: failed checks, or the error where there are none."""
    return [f"{step.name}: {words}" for step in run.steps for words in _of(step)]


def _of(step: Step) -> list[str]:
    if step.status not in (FAILED, INTERRUPTED):
        return []
    failed = [check for check in step.result.get("checks", []) if not check["ok"]]
    if failed:
        return [f"not so: {check['name']} ({check['detail']})" for check in failed]
    return [f"{step.error['ename']}: {step.error['evalue']}"] if step.error else [step.status]


def document(run: Run, command: str, kept: str) -> dict[str, Any]:
    """For a webhook: ``text`` is what Slack and those like it show; the rest is for programs."""
    return {
        "text": line(run, command),
        "status": run.status,
        "command": command,
        "started": run.started,
        "ended": run.ended,
        "changed": run.changed,
        "parameters": {name: str(run.parameters[name]) for name in ("platform", "model") if name in run.parameters},
        "notebooks": {step.name: step.status for step in run.steps},
        "problems": [scrub(words) for words in problems(run)],
        "results": kept,
    }


def _seconds(run: Run) -> float:
    if not (run.started and run.ended):
        return sum(step.seconds for step in run.steps)
    return (datetime.fromisoformat(run.ended) - datetime.fromisoformat(run.started)).total_seconds()
