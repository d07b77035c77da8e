"""``runbook params check``: a typo in a parameter file, named before anything uses it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from .check import found, problems


@click.group(name="params")
def params() -> None:
    """The parameter files of platforms and models."""


@params.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def check(files: tuple[Path, ...]) -> None:
    """Check FILES (or all that there are) against the schemas, without a cluster.

    Exit codes: 0 all are valid, 1 at least one isn't: each problem is named with file, line, field and what is allowed.
    """
    chosen = list(files) or found()
    wrong = problems(chosen)
    for problem in wrong:
        click.echo(str(problem), err=True)
    if wrong:
        sys.exit(1)
    click.echo(f"{len(chosen)} parameter files are valid")
