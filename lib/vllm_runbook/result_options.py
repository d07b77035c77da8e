"""Command-line options of whatever executes notebooks: where results go, and whom to wait for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

DIRECTORY = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_OPTIONS = (
    click.option(
        "--output",
        metavar="DIR|s3://…|gs://…|abs://…",
        help="Keep executed notebooks, report and summaries here, too, below the run's time.",
    ),
    click.option(
        "--keep",
        type=click.IntRange(min=1),
        metavar="N",
        help="Keep only the newest N runs (in directories; object stores have lifecycle rules).",
    ),
    click.option("--webhook", metavar="URL", help="Tell this address how it went; or $RUNBOOK_WEBHOOK_URL."),
    click.option(
        "--wait",
        "patience",
        type=click.FloatRange(min=0),
        default=0,
        metavar="SECONDS",
        help="Wait so long for another run that is at work on the cluster.",
    ),
)


def result_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --output, --keep, --webhook and --wait."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
