"""``runbook run``: from the command line's words to a finished run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from .. import params
from ..cluster.lease import Held
from ..errors import RunbookError
from ..params import Params
from ..verdict import objects
from . import outcome, report, results, state, summaries, webhook
from .execute import execute
from .locking import Guard, await_quiet
from .secrets import scrub
from .selection import Settings, Source, lacking, select, settings, sources
from .state import FAILED, INTERRUPTED, PASSED, SKIPPED, Run, Step


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line.

    Attributes:
        keep_going: a notebook that failed doesn't end the run.
        patience: seconds to wait for another run that is at work on the cluster.
        output: where results are kept besides the runs directory; ``keep``: how many runs stay.
        command: how the run is called in its summary.
        undisturbed: only look, and only while no run is at work on the cluster.
    """

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
    keep_going: bool = False
    patience: float = 0
    output: str | None = None
    keep: int | None = None
    webhook: str | None = None
    command: str = "run"
    undisturbed: bool = False
    dry_run: bool = False


def run(request: Request) -> Run:
    """Execute the notebooks in order, up to the first failure, and deliver the results.

    Raises:
        ParamsError, RunbookError: before anything ran.
        Held: another run is at work, in the runs directory or on the cluster.
        Stopped: the run lost its Lease.
        NotKept: it passed, and its results could not be kept.
        KeyboardInterrupt: after state and report were written.
    """
    found = sources(request.notebooks_dir)
    chosen = select(found, request.names, request.first, request.last, everything=request.everything)
    given = settings(found, request.pairs, request.params_file)
    valid = _validate(given, chosen)
    left_out = _left_out(request, valid, chosen)
    if request.output:
        results.check(request.output)
    hook = webhook.address(request.webhook)
    parameters = {**given.own, **given.overrides}
    if request.undisturbed and valid:
        await_quiet(valid, request.patience)
    with state.exclusive(request.runs_dir):
        current = _resumed_or_new(request, chosen, parameters)
        guard = Guard(None if request.dry_run else valid, request.patience)
        try:
            _all(request, current, chosen, given, guard, left_out)
        except KeyboardInterrupt:
            if guard.lost:
                raise guard.lost from None
            raise
        finally:
            guard.close()
            current.ended = state.now()
            _write(current)
            not_kept = _deliver(request, current, hook)
        if not_kept and current.status == PASSED:
            raise not_kept
        return current


def _all(
    request: Request,
    current: Run,
    chosen: Sequence[Source],
    given: Settings,
    guard: Guard,
    left_out: Mapping[str, str],
) -> None:
    for source, step in zip(chosen, current.steps, strict=True):
        if why := left_out.get(source.name):
            step.skip(why)
            click.echo(line(step))
        elif step.status != PASSED:
            passed = _guarded(guard, source, step) and _one(request, current, source, step, given)
            if not passed and not request.keep_going:
                return


def _guarded(guard: Guard, source: Source, step: Step) -> bool:
    """Whether the Lease is held, if this notebook needs it; why not is then the notebook's error."""
    try:
        guard.before(source.name)
    except Held:
        raise
    except (params.ParamsError, RunbookError) as error:
        step.status = FAILED
        step.error = {"ename": type(error).__name__, "evalue": scrub(str(error)), "cell": None, "source": []}
        click.echo(line(step))
        return False
    return True


def _deliver(request: Request, current: Run, hook: str | None) -> results.NotKept | None:
    """Keep the results, forget old ones, print the summary and send it."""
    failure, kept = None, str(request.runs_dir / current.directory.name)
    if request.output:
        try:
            kept = results.publish(current, request.output)
            click.echo(f"results: {kept}")
        except results.NotKept as error:
            failure = error
            click.echo(f"error: {error}", err=True)
    if request.keep:
        local = [request.runs_dir, *([Path(request.output)] if request.output and "://" not in request.output else [])]
        for directory in local:
            for name in results.prune(directory, request.keep):
                click.echo(f"removed {directory / name}: the newest {request.keep} are kept")
    click.echo(outcome.line(current, request.command))
    if hook and (problem := webhook.send(hook, outcome.document(current, request.command, kept))):
        click.echo(f"the webhook could not be told: {problem}", err=True)
    return failure


def _validate(given: Settings, chosen: Sequence[Source]) -> Params | None:
    """A typo in a parameter ends here, before a kernel starts."""
    platform, model = given.value("platform", chosen), given.value("model", chosen)
    return params.load(platform, model, given.overrides) if platform and model else None


def _left_out(request: Request, valid: Params | None, chosen: Sequence[Source]) -> dict[str, str]:
    """Notebooks for which the platform lacks something, and what.

    Raises:
        RunbookError: such a notebook was asked for by name, or there is no other.
    """
    if valid is None:
        return {}
    found = {source.name: why for source in chosen if (why := lacking(source, valid.platform))}
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
    if last and not request.fresh and state.can_resume(last, request.notebooks_dir, parameters, names, request.dry_run):
        done = sum(step.status == PASSED for step in last.steps)
        click.echo(f"resuming {last.directory.name}: {done} of {len(names)} notebooks are done (--fresh starts over)")
        return last
    steps = [Step(source.name, source.title) for source in chosen]
    return state.begin(request.runs_dir, request.notebooks_dir, parameters, steps, dry_run=request.dry_run)


def _one(request: Request, current: Run, source: Source, step: Step, given: Settings) -> bool:
    """Execute one notebook and tell how it went; False when the run ends here."""
    step.status = INTERRUPTED  # what a killed run leaves behind
    current.save()
    try:
        output = current.directory / f"{source.name}.ipynb"
        execute(source, step, output, given.of(source), request.timeout, dry_run=request.dry_run)
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
    change = f"changed {objects(changed)}" if (changed := step.result.get("changed", 0)) else "nothing changed"
    if step.result.get("dry_run"):
        change = f"dry run: {objects(step.result['would_change'])} would change"
    mark = {PASSED: "ok ", FAILED: "NOT", INTERRUPTED: "!! "}.get(step.status, "   ")
    return f"{mark} {step.name:<22} {step.seconds:6.1f} s  {held}, {change}"


def _write(current: Run) -> None:
    current.save()
    summaries.write(current)
    report.write(current)
