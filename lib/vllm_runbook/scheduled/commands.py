"""``runbook roles``, ``runbook verify`` and ``runbook schedule``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

import click

from .. import files
from ..errors import RunbookError
from ..params import Params, ParamsError
from ..result_options import DIRECTORY, FILE, result_options

WRONG_CODE, FAILED_CODE = 2, 1
_PLATFORM = click.option(
    "--platform", default="sandbox", show_default=True, help="A file of params/platforms, or a path."
)
_MODEL = click.option("--model", default="qwen3-8b", show_default=True, help="A file of params/models, or a path.")
_PAIRS = click.option(
    "-p", "--param", "pairs", multiple=True, metavar="NAME=VALUE", help="A field of platform or model, as for run."
)


@click.command()
@click.argument("notebooks", nargs=-1)
@_PLATFORM
@_PAIRS
@click.option("--service-account", "account", metavar="NAME", help="One for all; by default each notebook has its own.")
@click.option("--namespace", metavar="NS", help="Of the accounts; by default the platform's.")
def roles(
    notebooks: tuple[str, ...], platform: str, pairs: tuple[str, ...], account: str | None, namespace: str | None
) -> None:
    """Print ServiceAccounts, roles and bindings with exactly the rights of notebooks, as YAML for kubectl apply.

    NOTEBOOK is a number, a name, or "verify" for all that `runbook verify` needs; without any it is every notebook.
    Nothing is sent to a cluster.
    """
    from . import rbac

    try:
        found = _load(platform, "qwen3-8b", pairs).platform
        click.echo(rbac.text(rbac.steps_of(notebooks), found, account, namespace or found.namespace), nl=False)
    except (ParamsError, RunbookError) as error:
        _wrong(error)


@click.command()
@_PLATFORM
@_MODEL
@_PAIRS
@click.option("--params-file", type=FILE, help="YAML mapping of the same.")
@click.option(
    "--applied",
    default="",
    metavar="NOTEBOOKS",
    help="Whose objects must be there: 01 03 04; else of those that left any.",
)
@click.option("--runs-dir", type=DIRECTORY, default=Path("runs/verify"), show_default=True, help="Where runs are kept.")
@click.option("--notebooks-dir", type=DIRECTORY, help="By default ./notebooks, or this repository's.")
@click.option("--timeout", type=click.FloatRange(min=1), help="Seconds that one cell may take.")
@result_options
def verify(
    platform: str,
    model: str,
    pairs: tuple[str, ...],
    params_file: Path | None,
    applied: str,
    runs_dir: Path,
    notebooks_dir: Path | None,
    timeout: float | None,
    output: str | None,
    keep: int | None,
    webhook: str | None,
    patience: float,
) -> None:
    """Say whether everything is as it was applied, healthy, and answering. Changes nothing.

    Runs notebooks 00, 09 and 30, all three whatever the others find. Exit codes: 0 in order, 1 something is wrong,
    2 wrong arguments, 3 a run is at work on the cluster, 130 interrupted.
    """
    from ..runner.ending import execute
    from ..runner.run import Request
    from ..runner.state import PASSED
    from .rbac import VERIFY

    numbers = " ".join(name[:2] for name in VERIFY)
    own = [f"platform={platform}", f"model={model}", f"permissions_of='{numbers}'", "downloads=false"]
    own += [f"applied='{applied}'"]
    request = Request(
        notebooks_dir=files.notebooks(notebooks_dir),
        runs_dir=runs_dir,
        names=VERIFY,
        pairs=[*pairs, *own],
        params_file=params_file,
        fresh=True,
        timeout=timeout,
        keep_going=True,
        undisturbed=True,
        patience=patience,
        output=output,
        keep=keep,
        webhook=webhook,
        command="verify",
    )
    sys.exit(0 if execute(request).status == PASSED else FAILED_CODE)


@click.command()
@_PLATFORM
@_MODEL
@_PAIRS
@click.option("--cron", default="17 3 * * *", show_default=True, help="When, in UTC.")
@click.option(
    "--keep", type=click.IntRange(min=1), default=30, show_default=True, help="Reports that stay on the claim."
)
@click.option("--output", metavar="s3://…|gs://…|abs://…", help="Keep results there, too.")
@click.option("--applied", default="", metavar="NOTEBOOKS", help="As for verify.")
@click.option("--roles/--no-roles", default=True, help="Make the roles, or use those that an administrator applied.")
@click.option("--preview", is_flag=True, help="Only show what would be done.")
@click.option("--remove", is_flag=True, help="Take it away again; the claim with the reports stays.")
@click.option("--delete-results", is_flag=True, help="With --remove: the claim goes, too.")
def schedule(
    platform: str,
    model: str,
    pairs: tuple[str, ...],
    cron: str,
    keep: int,
    output: str | None,
    applied: str,
    roles: bool,
    preview: bool,
    remove: bool,
    delete_results: bool,
) -> None:
    """Verify every night, in the cluster: a CronJob, its account and roles, and a claim for the reports.

    Shows what changes, then changes it. Exit codes: 0 done, 2 wrong arguments or missing rights, 3 a run is at work.
    """
    from .. import cluster as k8s
    from ..cluster.lease import Held, holder_of
    from ..notebook import Notebook
    from ..runner.ending import BUSY_CODE
    from ..runner.results import check
    from . import nightly

    try:
        params = _load(platform, model, pairs)
        book = Notebook(nightly.STEP, params, k8s.connect(params.platform))
        if held := holder_of(book.cluster, book.namespace):
            raise held
        if remove:
            gone = nightly.remove(book, results=delete_results)
            click.echo(f"removed {len(gone)} objects" if gone else "nothing to remove")
            return
        if output:
            check(output, here=False)
        wishes = nightly.Wishes(cron, keep, output, applied, roles)
        for plan in nightly.plans(book, wishes):
            click.echo(str(plan))
            if not preview:
                book.apply(plan)
    except Held as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(BUSY_CODE)
    except (ParamsError, RunbookError) as error:
        _wrong(error)
    click.echo(nightly.farewell(book, preview=preview))


def _load(platform: str, model: str, pairs: tuple[str, ...]) -> Params:
    from .. import params

    return params.load(platform, model, params.from_pairs(pairs))


def _wrong(error: Exception) -> NoReturn:
    click.echo(f"error: {error}", err=True)
    sys.exit(WRONG_CODE)
