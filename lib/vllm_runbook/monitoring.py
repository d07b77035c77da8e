"""``runbook monitoring``: rules and dashboards as files."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from . import dashboards, rules
from . import params as parameters
from .errors import RunbookError
from .params import ParamsError


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--platform", default="sandbox", show_default=True, help="A file of params/platforms, or a path.")
@click.option("--model", default="qwen3-8b", show_default=True, help="A file of params/models, or a path.")
@click.option(
    "-p", "--param", "pairs", multiple=True, metavar="NAME=VALUE", help="A field of platform or model, as for run."
)
def monitoring(directory: Path, platform: str, model: str, pairs: tuple[str, ...]) -> None:
    """Write alert and recording rules (rules/*.yaml) and Grafana dashboards (dashboards/*.json) into DIRECTORY.

    For a Prometheus or Grafana that is fed another way than by notebook 05. Thresholds are the platform's, objectives
    the model's. No cluster is asked; other files there stay. Exit codes: 0 written, 2 not.
    """
    try:
        params = parameters.load(platform, model, parameters.from_pairs(pairs))
        files = {f"rules/{name}.yaml": rules.text(each) for name, each in rules.documents(params).items()}
        files |= {f"dashboards/{name}.json": dashboards.text(name) for name in dashboards.NAMES}
    except (ParamsError, RunbookError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    for name, text in files.items():
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        before = target.read_text(encoding="utf-8") if target.is_file() else None
        target.write_text(text, encoding="utf-8")
        click.echo(f"{'unchanged' if before == text else 'wrote'} {name}")
