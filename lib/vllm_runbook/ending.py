"""How a notebook ends early without having failed.

In Lab the cell says why and the cells after it are not run. Where nobody watches they are passed over, and the cell
counts as done: papermill, nbclient and nbval know of cells that fail and of cells that don't, and of nothing between.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

_ENDED: list[str] = []


def on(kind: type[BaseException], tell: Callable[[str], None], *, pass_over: bool) -> None:
    """From now on, let an exception of this kind end the notebook; once more, for the notebook that begins now.

    Args:
        tell: prints how it ended; gets the exception's words. If it raises, the notebook has failed after all.
        pass_over: whether the cells after it are to count as done.
    """
    _ENDED.clear()
    ipython = sys.modules.get("IPython")
    shell: Any = ipython.get_ipython() if ipython is not None else None
    if shell is None:
        return  # a script: the exception ends it

    def handler(_shell: Any, _kind: Any, error: BaseException, _traceback: Any, tb_offset: Any = None) -> None:
        try:
            tell(str(error))
        except Exception as worse:
            shell.showtraceback((type(worse), worse, worse.__traceback__))
            return
        if pass_over:
            _ENDED.append(str(error))

    shell.set_custom_exc((kind,), handler)
    if _forgive not in shell.events.callbacks["post_run_cell"]:
        shell.events.register("post_run_cell", _forgive)
        shell.input_transformers_post.append(_nothing)


def _forgive(result: Any) -> None:
    """The cell in which it ended has not failed."""
    if _ENDED and result is not None:
        result.error_in_exec = None


def _nothing(lines: list[str]) -> list[str]:
    """The cells after it."""
    return [] if _ENDED else lines
