"""``runbook init``: notebooks, params and manifests to edit."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ..errors import RunbookError
from . import copies
from .copies import NEW, State

LEFT_TO_DO, REFUSED = 1, 2

#: What an upgrade says about a file; nothing where nothing is to be said.
_TOLD = {
    State.MISSING: "added",
    State.UPDATED: "updated",
    State.EDITED: "yours kept",
    State.BOTH: "to merge",
    State.FOREIGN: "to merge",
    State.DELETED: "left out",
    State.DROPPED: "removed",
    State.DROPPED_EDITED: "yours kept",
}


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite files that differ, whoever changed them.")
@click.option(
    "--upgrade", is_flag=True, help="Bring what was copied before to this version, and keep what you changed."
)
@click.option("--dry-run", is_flag=True, help="With --upgrade: say what it would do.")
def init(directory: Path, force: bool, upgrade: bool, dry_run: bool) -> None:
    """Copy notebooks, params and manifests into DIRECTORY, to edit; `runbook run` there uses them.

    Files that differ are never overwritten unasked. Exit codes: 0 done, 1 done, and files are left to merge,
    2 refused, nothing was written.
    """
    if (force and upgrade) or (dry_run and not upgrade):
        raise click.UsageError("--force and --upgrade exclude each other; --dry-run belongs to --upgrade")
    try:
        if upgrade:
            sys.exit(_upgrade(directory, dry_run))
        states = copies.copy(directory, force=force)
    except (RunbookError, OSError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(REFUSED)
    written = [name for name, state in states.items() if state in (State.MISSING, State.DELETED, *copies.IN_THE_WAY)]
    for name in written:
        if states[name] in copies.IN_THE_WAY:
            click.echo(f"overwritten  {name} ({states[name]})")
    click.echo(f"{directory}: {len(written)} of {len(states)} files written, version {copies.installed()}")
    click.echo(f"Next: cd {directory}, then runbook sandbox up, and runbook run --to 04 or jupyter lab")


def _upgrade(directory: Path, dry_run: bool) -> int:
    before = copies.read_stamp(directory)
    states = copies.upgrade(directory, dry_run=dry_run)
    for name, state in states.items():
        if state in _TOLD:
            click.echo(f"{_TOLD[state]:<11}  {name} ({state})")
    merge = [name for name, state in states.items() if state in (State.BOTH, State.FOREIGN)]
    for name in merge if not dry_run else ():
        click.echo(f"Next: take over what you want from {directory / name}{NEW}, then delete that")
    would = "would go" if dry_run else "went"
    click.echo(f"{directory} {would} from version {before.version if before else '?'} to {copies.installed()}")
    return LEFT_TO_DO if merge else 0
