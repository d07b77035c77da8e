"""``runbook export`` and ``runbook diff``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from .. import cluster as k8s
from ..errors import RunbookError
from ..params import ParamsError, from_pairs
from ..permissions import TITLES
from . import drift as drifts
from . import render
from .make import make, params_of
from .tree import FORMS, RECORD, Request, request_of, write

DIRECTORY = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.argument("form", type=click.Choice(FORMS))
@click.argument("directory", type=DIRECTORY)
@click.option(
    "--platform", "platforms", multiple=True, help="A file of params/platforms, or a path; an overlay for each."
)
@click.option("--model", default="qwen3-8b", show_default=True, help="A file of params/models, or a path.")
@click.option(
    "-p", "--param", "pairs", multiple=True, metavar="NAME=VALUE", help="A field of platform or model, as for run."
)
@click.option(
    "--notebook", "notebooks", multiple=True, metavar="NOTEBOOK", help="Only what these leave in place; else all."
)
@click.option("--repo", default=Request.repo, show_default=True, help="Where the tree will be, for Argo CD and Flux.")
@click.option("--path", default=Request.path, show_default=True, help="Its directory there.")
@click.option("--revision", default=Request.revision, show_default=True, help="Its branch there.")
@click.option("--force", is_flag=True, help="Overwrite files that were edited, or that others wrote.")
def export(
    form: str,
    directory: Path,
    platforms: tuple[str, ...],
    model: str,
    pairs: tuple[str, ...],
    notebooks: tuple[str, ...],
    repo: str,
    path: str,
    revision: str,
    force: bool,
) -> None:
    """Write the objects of the notebooks as a tree for kustomize or as a chart for helm, with Argo CD's and Flux's; or
    the models of the platform's registry (notebook 13) as InferenceServices for kserve.

    Computed from the parameters; no cluster is asked. Again, it changes nothing. Exit codes: 0 written, 2 not.
    """
    try:
        named = tuple(_notebook(name) for name in notebooks)
        chosen = platforms or ("sandbox",)
        request = Request(form, chosen, model, from_pairs(pairs), named, repo, path, revision)
        files, contents = make(request)
        done = write(directory, request, files, force=force)
    except (ParamsError, RunbookError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    for name in done.written:
        if name != RECORD:
            click.echo(f"wrote {name}")
    for name in done.removed:
        click.echo(f"removed {name}")
    if not done.written and not done.removed:
        click.echo("nothing changed")
    for each in contents:
        click.echo(f"{each.platform}: {len(each.items)} objects; not exported:")
        for missing in each.missing:
            click.echo(f"  {missing.what}: {missing.why}")


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--overlay", metavar="PLATFORM", help="Which platform of the tree; needed where it has several.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def diff(directory: Path, overlay: str | None, as_json: bool) -> None:
    """Show where the cluster differs from an exported tree. Changes nothing.

    The tree is rendered by kubectl or helm, and the API server says what applying it would change. Exit codes: 0 no
    drift, 1 drift, 2 it could not be compared.
    """
    try:
        request = request_of(directory)
        by_name = {params.platform.name: params for name in request.platforms for params in [params_of(request, name)]}
        if overlay is None and len(by_name) == 1:
            (overlay,) = by_name
        if overlay not in by_name:
            raise RunbookError("Which overlay?", next_step=f"--overlay {' or '.join(by_name)}")
        items = render.render(directory, request.form, overlay)
        found = drifts.drift(k8s.connect(by_name[overlay].platform), items)
    except (ParamsError, RunbookError) as error:
        if as_json:
            click.echo(json.dumps({"version": drifts.VERSION, "error": str(error)}, indent=1))
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    if as_json:
        click.echo(json.dumps(drifts.document(found), indent=1))
    else:
        for line in drifts.lines(found):
            click.echo(line)
    sys.exit(drifts.code(found))


def _notebook(name: str) -> str:
    """A notebook by its name or number."""
    for known in TITLES:
        if name in (known, known.partition("_")[0]):
            return known
    raise RunbookError(f"There is no notebook {name}", why=f"there are {', '.join(TITLES)}")
