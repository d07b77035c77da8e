"""``runbook lab``: JupyterLab on the notebooks, opened at their index."""

from __future__ import annotations

import os
import sys
from importlib import resources
from pathlib import Path

import click

from .. import files


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "--notebooks-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Instead of those of `runbook init`, or the package's own.",
)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def lab(notebooks_dir: Path | None, options: tuple[str, ...]) -> None:
    """Open JupyterLab at the notebooks' index. OPTIONS are handed to `jupyter lab` (--no-browser, --port=8890 …).

    It listens on this machine only, unless OPTIONS say otherwise, and asks for its token.
    """
    extensions = resources.files("vllm_runbook.lab").joinpath("extensions")
    command = [sys.executable, "-m", "jupyterlab", "--ip=127.0.0.1", "--LabApp.default_url=/lab/tree/index.ipynb"]
    command += [
        f"--ServerApp.root_dir={files.notebooks(notebooks_dir).resolve()}",
        f"--LabApp.extra_labextensions_path={extensions}",
    ]
    sys.stdout.flush()
    os.execv(sys.executable, [*command, *options])
