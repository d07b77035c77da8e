"""Where notebooks, params and manifests are: one way of looking them up, for all of them.

Three places have them, and the first that has a file wins:

1. a directory that ``runbook init`` made, or a checkout of this repository: the one that the environment variable
   RUNBOOK_DIR names, or the working directory, or its parent (notebooks run in ``notebooks/``);
2. the checkout that this code is run from (an editable installation);
3. the installed package, which carries them as data.
"""

from __future__ import annotations

import os
from pathlib import Path

from .errors import RunbookError

KINDS = ("notebooks", "params", "manifests")
#: Made by ``runbook init``: what it put there, to tell later who changed what.
STAMP = ".runbook.json"

_PACKAGE = Path(__file__).resolve().parent
#: Where the build puts them (setup.py).
SHIPPED = _PACKAGE / "shipped"


def is_checkout(directory: Path) -> bool:
    """Whether a directory is this repository."""
    return (directory / "lib" / "vllm_runbook" / "files.py").is_file() and (directory / "notebooks").is_dir()


def is_users(directory: Path) -> bool:
    """Whether a directory has a user's copies: made by ``runbook init``, or a checkout."""
    return (directory / STAMP).is_file() or is_checkout(directory)


def of_user() -> Path | None:
    """The directory with the user's own copies; None where there is none.

    Raises:
        RunbookError: RUNBOOK_DIR names something else.
    """
    explicit = os.environ.get("RUNBOOK_DIR")
    if explicit and not is_users(Path(explicit)):
        raise RunbookError(
            f"RUNBOOK_DIR is {explicit}, which runbook init didn't make",
            next_step=f"runbook init {explicit}, or unset RUNBOOK_DIR",
        )
    places = [Path(explicit)] if explicit else [Path.cwd(), Path.cwd().parent]
    return next((place for place in places if is_users(place)), None)


def original() -> Path:
    """What this version of the package brings, unedited by the user (in a checkout: the checkout's)."""
    checkout = _PACKAGE.parents[1]
    return checkout if is_checkout(checkout) else SHIPPED


def directories(kind: str) -> list[Path]:
    """All ``notebooks``, ``params`` or ``manifests`` directories, first match wins.

    RUNBOOK_PARAMS and RUNBOOK_MANIFESTS each name one more, which comes before all others.

    Raises:
        RunbookError: RUNBOOK_DIR can't be used.
    """
    explicit = os.environ.get(f"RUNBOOK_{kind.upper()}")
    found = [Path(explicit)] if explicit else []
    found += [root / kind for root in (of_user(), original()) if root is not None]
    return list(dict.fromkeys(path for path in found if path.is_dir()))


def notebooks(directory: Path | None = None) -> Path:
    """The directory of notebooks to run: the given one, else the first there is.

    The params and manifests beside them go with them: RUNBOOK_DIR tells the kernels, wherever they work.

    Raises:
        RunbookError: RUNBOOK_DIR can't be used.
    """
    given = directory.resolve() if directory else None
    home = given.parent if given and is_users(given.parent) else of_user()
    if home:
        os.environ["RUNBOOK_DIR"] = str(home.resolve())
    return given or directories("notebooks")[0].resolve()
