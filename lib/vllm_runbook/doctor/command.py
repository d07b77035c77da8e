"""``runbook doctor``: examine a namespace from the command line, or from a monitoring system."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

import click

from .. import cluster as k8s
from .. import params as parameters
from ..errors import RunbookError
from ..params import ParamsError
from . import report
from .context import context_of
from .diagnosis import UNKNOWN, diagnose
from .examine import examine


@click.command()
@click.option("--platform", default="sandbox", show_default=True, help="A file of params/platforms, or a path.")
@click.option("--model", default="qwen3-8b", show_default=True, help="A file of params/models, or a path.")
@click.option("--namespace", help="Another one than the platform's.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable, for tickets.")
@click.option(
    "-p", "--param", "pairs", multiple=True, metavar="NAME=VALUE", help="A field of platform or model, as for run."
)
def doctor(platform: str, model: str, namespace: str | None, as_json: bool, pairs: tuple[str, ...]) -> None:
    """Say what is wrong in the namespace, why, and what mends it. Changes nothing.

    Exit codes, as of monitoring plugins: 0 healthy, 1 warnings, 2 errors, 3 it could not be examined.
    """
    try:
        params = parameters.load(platform, model, _overrides(pairs, namespace))
        cluster = k8s.connect(params.platform)
        found = diagnose(examine(cluster, context_of(params)))
    except (ParamsError, RunbookError) as error:
        if as_json:
            click.echo(json.dumps({"version": report.VERSION, "severity": "unknown", "error": str(error)}, indent=1))
        click.echo(f"error: {error}", err=True)
        sys.exit(UNKNOWN)
    if as_json:
        click.echo(json.dumps(report.document(found), indent=1))
    else:
        for line in report.lines(found):
            click.echo(line)
    sys.exit(found.exit_code)


def _overrides(pairs: tuple[str, ...], namespace: str | None) -> Mapping[str, str]:
    return parameters.from_pairs(pairs) | ({"namespace": namespace} if namespace else {})
