"""``runbook run``: from the command line's words to a finished run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from .. import params
from ..errors import RunbookError
from . import report, state, summaries
from .execute import execute
from .selection import Settings, Source, lacking, select, settings, sources
from .state import FAILED, INTERRUPTED, PASSED, SKIPPED, Run, Step


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line."""

    notebooks_dir: Path
    runs_dir: Path
    names: Sequence[str] = ()
    first: str | None = None
    last: str | None = None
    pairs: Sequence[str] = ()
    params_file: Path | None = None
    everything: bool = False
    fresh: bool = False
    timeout: float | None = None


def run(request: Request) -> Run:
    """Execute the notebooks in order, up to the first failure.

    Raises:
        ParamsError, RunbookError: before anything ran.
        KeyboardInterrupt: after state and report were written.
    """
    found = sources(request.notebooks_dir)
    chosen = select(found, request.names, request.first, request.last, everything=request.everything)
    given = settings(found, request.pairs, request.params_file)
    left_out = _left_out(request, given, chosen)
    parameters = {**given.own, **given.overrides}
    with state.exclusive(request.runs_dir):
        current = _resumed_or_new(request, chosen, parameters)
        try:
            for source, step in zip(chosen, current.steps, strict=True):
                if why := left_out.get(source.name):
                    step.skip(why)
                    click.echo(line(step))
                elif step.status != PASSED and not _one(request, current, source, step, given):
                    break
        finally:
            current.ended = state.now()
            _write(current)
        return current


def _left_out(request: Request, given: Settings, chosen: Sequence[Source]) -> dict[str, str]:
    """Notebooks for which the platform lacks something, and what. A typo in a parameter ends here, too.

    Raises:
        ParamsError: before a kernel starts.
        RunbookError: such a notebook was asked for by name, or there is no other.
    """
    platform, model = given.value("platform", chosen), given.value("model", chosen)
    if not (platform and model):
        return {}
    loaded = params.load(platform, model, given.overrides).platform
    found = {source.name: why for source in chosen if (why := lacking(source, loaded))}
    if found and (request.names or len(found) == len(chosen)):
        raise RunbookError(
            f"{', '.join(found)} can't run here",
            why="\n".join(dict.fromkeys(found.values())),
            next_step="Describe it in the platform's file, or leave the notebook out: without names that happens by "
            "itself.",
        )
    return found


def _resumed_or_new(request: Request, chosen: Sequence[Source], parameters: dict[str, Any]) -> Run:
    last = state.latest(request.runs_dir)
    names = [source.name for source in chosen]
    if last and not request.fresh and state.can_resume(last, request.notebooks_dir, parameters, names):
        done = sum(step.status == PASSED for step in last.steps)
        click.echo(f"resuming {last.directory.name}: {done} of {len(names)} notebooks are done (--fresh starts over)")
        return last
    steps = [Step(source.name, source.title) for source in chosen]
    return state.begin(request.runs_dir, request.notebooks_dir, parameters, steps)


def _one(request: Request, current: Run, source: Source, step: Step, given: Settings) -> bool:
    """Execute one notebook and tell how it went; False when the run ends here."""
    step.status = INTERRUPTED  # what a killed run leaves behind
    current.save()
    try:
        execute(source, step, current.directory / f"{source.name}.ipynb", given.of(source), request.timeout)
    finally:
        current.ended = state.now()
        _write(current)
        click.echo(line(step))
    return step.status == PASSED


def line(step: Step) -> str:
    """One notebook's outcome."""
    if step.status == SKIPPED:
        return f"--  {step.name:<22} left out: {step.skipped}"
    checks = step.result.get("checks", [])
    held = f"{sum(check['ok'] for check in checks)}/{len(checks)} checks" if checks else "no checks"
    changed = step.result.get("changed", 0)
    change = f"changed {changed} object{'s' if changed != 1 else ''}" if changed else "nothing changed"
    mark = {PASSED: "ok ", FAILED: "NOT", INTERRUPTED: "!! "}.get(step.status, "   ")
    return f"{mark} {step.name:<22} {step.seconds:6.1f} s  {held}, {change}"


def _write(current: Run) -> None:
    current.save()
    summaries.write(current)
    report.write(current)
