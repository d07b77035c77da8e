"""The notebooks' commands: ``runbook run`` and ``runbook normalise``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from . import files
from .errors import RunbookError
from .initialise.copies import installed, read_stamp
from .params import ParamsError

DIRECTORY = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
INTERRUPTED_CODE = 130


@click.command(name="run")
@click.argument("notebooks", nargs=-1)
@click.option("--from", "first", metavar="NOTEBOOK", help="Begin here: a number or name.")
@click.option("--to", "last", metavar="NOTEBOOK", help="End here.")
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Those that run on request only, too (teardown, at the end); training only by name.",
)
@click.option("--platform", help="A file of params/platforms, or a path.")
@click.option("--model", help="A file of params/models, or a path.")
@click.option(
    "-p",
    "--param",
    "pairs",
    multiple=True,
    metavar="NAME=VALUE",
    help="A notebook's parameter, or a field of platform or model (storage.class=efs-sc).",
)
@click.option("--params-file", type=FILE, help="YAML mapping of the same.")
@click.option("--fresh", is_flag=True, help="Start over instead of resuming a run that failed or was interrupted.")
@click.option("--runs-dir", type=DIRECTORY, default=Path("runs"), show_default=True, help="Where runs are kept.")
@click.option("--notebooks-dir", type=DIRECTORY, help="Instead of those of `runbook init`, or the package's own.")
@click.option("--timeout", type=click.FloatRange(min=1), help="Seconds that one cell may take.")
def run_notebooks(
    notebooks: tuple[str, ...],
    first: str | None,
    last: str | None,
    everything: bool,
    platform: str | None,
    model: str | None,
    pairs: tuple[str, ...],
    params_file: Path | None,
    fresh: bool,
    runs_dir: Path,
    notebooks_dir: Path | None,
    timeout: float | None,
) -> None:
    """Execute the notebooks in order and write a report.

    Without names: all but those that run on request only (teardown), and those for which the platform
    lacks something (spot nodes), which are left out with the reason. A run that failed or was interrupted
    is resumed. Exit codes: 0 all passed, 1 a notebook failed, 2 wrong arguments, 130 interrupted.
    """
    from .runner.run import Request, run
    from .runner.state import PASSED

    named = [f"{name}={value}" for name, value in (("platform", platform), ("model", model)) if value]
    try:
        request = Request(
            notebooks_dir=_chosen(notebooks_dir),
            runs_dir=runs_dir,
            names=notebooks,
            first=first,
            last=last,
            everything=everything,
            pairs=[*pairs, *named],
            params_file=params_file,
            fresh=fresh,
            timeout=timeout,
        )
        done = run(request)
    except (ParamsError, RunbookError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        click.echo("interrupted; the same command goes on where it stopped", err=True)
        sys.exit(INTERRUPTED_CODE)
    click.echo(f"{'changed ' + str(done.changed) + ' objects' if done.changed else 'nothing changed'}")
    click.echo(f"report: {runs_dir / 'latest' / 'report.html'}")
    if done.status != PASSED:
        failed = next(step for step in done.steps if step.error)
        click.echo(f"\n{failed.name} failed: {failed.error['ename']}: {failed.error['evalue']}", err=True)
        click.echo(f"executed notebook: {runs_dir / 'latest' / (failed.name + '.ipynb')}", err=True)
        click.echo("The same command resumes at this notebook.", err=True)
        sys.exit(1)


def _chosen(given: Path | None) -> Path:
    """The notebooks' directory; says so where they are the package's, or of another version than it."""
    directory = files.notebooks(given)
    if directory == files.SHIPPED / "notebooks":
        click.echo("the installed notebooks, params and manifests (runbook init DIRECTORY copies them, to edit)")
    stamp = read_stamp(directory.parent)
    if stamp and stamp.version != installed():
        click.echo(
            f"{directory.parent} has the files of version {stamp.version}, and {installed()} is installed: "
            f"runbook init --upgrade {directory.parent}",
            err=True,
        )
    return directory


@click.command()
@click.argument("files", nargs=-1, type=FILE, required=True)
@click.option("--check", is_flag=True, help="Change nothing; exit code 1 if something would change.")
@click.option(
    "--verdicts-from", type=click.Path(exists=True, file_okay=False, path_type=Path), help="A run's directory."
)
def normalise(files: tuple[Path, ...], check: bool, verdicts_from: Path | None) -> None:
    """Strip what is volatile from notebooks; the verdicts' outputs stay (or are taken from a run)."""
    from .runner.normalise import normalised, take_verdict

    different = []
    for file in files:
        if verdicts_from and (verdicts_from / file.name).is_file() and not check:
            take_verdict(file, verdicts_from / file.name)
        before = file.read_text(encoding="utf-8")
        after = normalised(before)
        if after != before:
            different.append(file)
            if not check:
                file.write_text(after, encoding="utf-8")
    for file in different:
        click.echo(f"{'would change' if check else 'changed'} {file}")
    sys.exit(1 if check and different else 0)
