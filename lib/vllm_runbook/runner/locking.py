"""The Lease around the notebooks of a run that change something."""

from __future__ import annotations

import _thread
import os
import sys

import click

from .. import cluster as k8s
from ..cluster import ApiError, Ref
from ..cluster.lease import Held, Lease, await_free, identity
from ..errors import RunbookError
from ..notebook import HOLDER
from ..params import Params, ParamsError
from ..permissions import TITLES, changes_something
from ..steps.weights import namespace_object


class Stopped(RunbookError):
    """The run ended because it could not keep its Lease."""


def await_quiet(params: Params, patience: float) -> None:
    """Wait until no run is at work on the cluster. One that can't be reached is the notebooks' to tell.

    Raises:
        Held: one still is after ``patience`` seconds.
    """
    try:
        await_free(k8s.connect(params.platform), params.platform.namespace, patience)
    except Held:
        raise
    except (ParamsError, RunbookError):
        return


class Guard:
    """Takes the Lease before the first notebook that changes something, and gives it back at the end.

    Preflight, diagnosis and verification run without it: they only look.

    Args:
        params: of the run; None where notebooks have no platform, and there is nothing to guard.
        patience: seconds to wait while somebody else holds it.
    """

    def __init__(self, params: Params | None, patience: float) -> None:
        self._params, self._patience = params, patience
        self._lease: Lease | None = None
        self._reason = ""

    def before(self, step: str) -> None:
        """Hold the Lease if this notebook changes something.

        Raises:
            Held: somebody else is at work.
            RunbookError: the cluster can't be reached, or the Lease may not be taken; names the reason.
        """
        if self._lease is not None or self._params is None or step not in TITLES:
            return
        platform = self._params.platform
        if not changes_something(step, platform):
            return
        holder = os.environ[HOLDER] = identity()
        cluster = k8s.connect(platform)
        lease = Lease(cluster, platform.namespace, holder, step, lost=self._stop)
        try:
            if cluster.find(Ref("Namespace", platform.namespace)) is None:  # as notebook 03 makes it
                cluster.apply(k8s.marked(namespace_object(platform), "03_storage_weights"))
            before = lease.acquire(self._patience)
        except ApiError as error:
            if error.code == 403:
                return  # the notebook's own preflight names this permission, and all others that are missing
            raise
        self._lease = lease
        if before:
            click.echo(f"took {lease.ref} over from {before}, which let it expire: it was killed, or lost the cluster")

    def _stop(self, reason: str) -> None:
        """Called by the Lease's thread: interrupt the notebook, as Ctrl-C does."""
        self._reason = reason
        print(f"\nstopping: {reason}", file=sys.stderr)
        _thread.interrupt_main()

    @property
    def lost(self) -> Stopped | None:
        """Why the run was stopped, if it was."""
        if not self._reason:
            return None
        hint = "Look who is at work, then start the same command again: it goes on where it stopped."
        return Stopped("The run was stopped", why=self._reason, next_step=hint)

    def close(self) -> None:
        """Give the Lease back. What can't be given back expires by itself."""
        os.environ.pop(HOLDER, None)
        if self._lease is None:
            return
        try:
            self._lease.release()
        except Exception as error:  # the run's own outcome matters more
            click.echo(f"{self._lease.ref} could not be given back ({error}); it expires by itself", err=True)
