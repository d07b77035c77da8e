"""Where a run's results are kept: a directory or an object store, by papermill's own handlers, and for how long."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

from papermill.iorw import papermill_io

from ..errors import RunbookError
from .secrets import hide, scrub
from .state import LATEST, Run

#: Object stores, what papermill needs to write there, and this package's extra that brings it.
STORES = {"s3://": ("boto3", "s3"), "gs://": ("gcsfs", "gs"), "abs://": ("azure.storage.blob", "abs")}
_RUN = re.compile(r"^\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ(-\d+)?$")
_SUMMARY = "summary.json"


class NotKept(RunbookError):
    """The results could not be written where they were to be kept; they are in the runs directory."""


def check(output: str, *, here: bool = True) -> None:
    """Find out before anything runs whether results can go there.

    Args:
        here: written by this process, which then needs the store's library.

    Raises:
        RunbookError: an unknown scheme, or the store's library isn't installed.
    """
    scheme, found, rest = output.partition("://")
    if not found:
        return
    if f"{scheme}://" not in STORES:
        raise RunbookError(f"Results can't be kept in {scheme}://", why=f"known are a directory, {', '.join(STORES)}")
    module, extra = STORES[f"{scheme}://"]
    if here and not _installed(module):
        raise RunbookError(
            f"Results can't be kept in {scheme}://: {module} isn't installed",
            next_step=f"pip install 'vllm-runbook[{extra}]' (the image has it)",
        )
    if "?" in rest:  # a shared access signature
        hide(rest.partition("?")[2])


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def publish(run: Run, output: str) -> str:
    """Write executed notebooks, report and summaries to ``output``/<time>/; returns that place.

    Raises:
        NotKept: with the store's own words.
    """
    target = _join(output, run.directory.name)
    local = "://" not in output
    if local and Path(target).resolve() == run.directory.resolve():
        return target
    files = [run.directory / name for name in ("report.html", _SUMMARY, "junit.xml")]
    try:
        if local:
            Path(target).mkdir(parents=True, exist_ok=True)
        for file in (*sorted(run.directory.glob("*.ipynb")), *files):
            text = file.read_text(encoding="utf-8")
            papermill_io.write(text, _join(target, file.name), extensions=[file.suffix])
    except Exception as error:  # every store has its own
        raise NotKept(f"The results could not be kept in {scrub(target)}", why=scrub(str(error))) from error
    return scrub(target)


def _join(place: str, name: str) -> str:
    """A path below; what follows a question mark (abs: the signature) stays at the end."""
    path, mark, query = place.partition("?") if "://" in place else (place, "", "")
    return f"{path.rstrip('/')}/{name}{mark}{query}"


def prune(directory: Path, keep: int) -> list[str]:
    """Remove all but the newest runs of a directory; what isn't a run's directory is left alone."""
    runs = sorted((each for each in directory.iterdir() if _is_run(each)), key=_age, reverse=True)
    gone = runs[keep:]
    for each in gone:
        shutil.rmtree(each)
    return [each.name for each in gone]


def _is_run(directory: Path) -> bool:
    named = _RUN.match(directory.name) and directory.name != LATEST
    return bool(named) and not directory.is_symlink() and (directory / _SUMMARY).is_file()


def _age(directory: Path) -> tuple[str, int]:
    stamp, _, number = directory.name.partition("Z")
    return stamp, int(number.lstrip("-") or 0)
