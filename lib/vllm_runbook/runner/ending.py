"""How a run ends for whoever started it: exit codes that ``runbook run`` and ``runbook verify`` share."""

from __future__ import annotations

import signal
import sys
from typing import NoReturn

import click

from ..cluster.lease import Held
from ..errors import RunbookError
from ..params import ParamsError
from .locking import Stopped
from .results import NotKept
from .run import Request, run
from .state import Busy, Run

FAILED_CODE, WRONG_CODE, BUSY_CODE, INTERRUPTED_CODE = 1, 2, 3, 130


def execute(request: Request) -> Run:
    """Run, and end the process with its exit code where there is no finished run to speak of.

    SIGTERM ends a run as Ctrl-C does, so that a pod that is deleted leaves its results and gives its Lease back.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return run(request)
    except (Held, Busy) as error:
        _end(BUSY_CODE, error)
    except (Stopped, NotKept) as error:
        _end(FAILED_CODE, error)
    except (ParamsError, RunbookError) as error:
        _end(WRONG_CODE, error)
    except KeyboardInterrupt:
        click.echo("interrupted; the same command goes on where it stopped", err=True)
        sys.exit(INTERRUPTED_CODE)


def _end(code: int, error: Exception) -> NoReturn:
    click.echo(f"error: {error}", err=True)
    sys.exit(code)
