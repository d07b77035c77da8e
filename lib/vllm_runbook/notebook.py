"""What every notebook starts with: validated parameters, a connection, and the permissions checked.

>>> book = begin("04_deploy_vllm", "sandbox", "qwen3-8b", {})    # doctest: +SKIP
"""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from . import choice, ending
from . import cluster as k8s
from . import params as parameters
from . import sizing as sizes
from .choice import Choice
from .cluster import Cluster, DryRunEnded, Object, Plan
from .cluster.lease import holder_of
from .errors import RunbookError
from .params import Params
from .permissions import TITLES, changes_something, permissions
from .plots import headless
from .sizing import Sizing
from .verdict import Result

#: Environment variable by which the runner names the holder of the Lease that it took for this notebook.
HOLDER = "RUNBOOK_LEASE_HOLDER"


class Notebook:
    """One run of one notebook.

    Attributes:
        step: the notebook's name; objects that it creates carry it as a label.
        params, sizing, cluster: validated, computed, connected.
        result: checks and figures so far.
    """

    def __init__(self, step: str, params: Params, cluster: Cluster) -> None:
        self.step = step
        self.params = params
        self.cluster = cluster
        self.sizing: Sizing = sizes.size(params)
        self.result = Result(step, TITLES[step], cluster.context, dry_run=cluster.dry_run)
        if notice := params.platform.notice:
            self.result.simulated, self.result.notice = True, notice

    @property
    def namespace(self) -> str:
        """Namespace of everything that serves models."""
        return self.params.platform.namespace

    def plan(self, items: Iterable[Object], *, force: bool = False, adopt: bool = False) -> Plan:
        """Preview objects (see cluster.plan)."""
        return k8s.plan(self.cluster, items, self.step, force=force, adopt=adopt)

    def apply(self, plan: Plan) -> None:
        """Make a previewed change, and count what changed; in a dry run, say what would."""
        done = k8s.apply(self.cluster, plan)
        self.result.changed += len(done.changed)
        self.result.unchanged += len(done.unchanged)

    def put(self, item: Object) -> None:
        """Apply one object at once and uncounted: what a trial does, and what is taken back or doesn't matter after."""
        (change,) = self.plan([item]).changes
        self.cluster.apply(change.desired)

    def check(self, statement: str, ok: bool, detail: str = "") -> None:
        """Note something for the verdict.

        Raises:
            DryRunEnded: in a dry run, once something would have been changed: it couldn't hold yet.
        """
        self.cluster.require_nothing_pending(f"“{statement}”")
        self.result.check(statement, ok, detail)

    def figure(self, name: str, value: Any) -> None:
        """Note a measured value for summary.json; the name ends with the unit."""
        self.result.figures[name] = value

    @contextlib.contextmanager
    def earlier(self, *, essential: bool = False) -> Iterator[None]:
        """Around checks of what earlier notebooks leave: in a dry run, where it may be missing, that is only told.

        Args:
            essential: nothing can be shown without it, so that the dry run ends.
        """
        try:
            yield
        except RunbookError as error:
            if not self.cluster.dry_run:
                raise
            if essential:
                raise DryRunEnded(error.what) from error
            print(f"dry run, so this goes on: {error.what}")

    def verdict(self, ended: str = "") -> None:
        """Print what holds; the last cell of every notebook. ``ended``: why a dry run ends before that."""
        self.result.would_change = len(self.cluster.pending)
        self.result.close(ended)


def begin(step: str, platform: str, model: str, overrides: Mapping[str, Any] | str | None = None) -> Notebook:
    """Validate the parameters, connect to the cluster they name, and ask whether we may do this step.

    Args:
        step: the notebook's file name without its ending.
        platform, model: names of parameter files, or paths.
        overrides: single values by dotted name; or, for papermill's -p, text: ``storage.class=efs-sc
            max_model_len=8192``.

    In Lab, what was chosen in the index's panel takes the place of parameters that are left at their defaults.

    Raises:
        ParamsError: before anything touches the cluster.
        RunbookError: the cluster can't be reached, permissions are missing (names each), or a run is at work there.
    """
    chosen, origin = _chosen(Choice(platform, model), overrides)
    params = parameters.load(chosen.platform, chosen.model, _mapping(overrides))
    cluster = k8s.connect(params.platform, dry_run=chosen.dry_run)
    book = Notebook(step, params, cluster)
    ending.on(DryRunEnded, book.verdict, pass_over=headless())
    _require_permissions(book)
    _require_nobody_else(book)
    print(f"{book.result.title}: {params.model.hub_id} on {params.platform.title} (context {cluster.context})")
    for line in [*origin, params.platform.notice]:
        if line:
            print(line)
    return book


def _chosen(cell: Choice, overrides: Mapping[str, Any] | str | None) -> tuple[Choice, list[str]]:
    """What holds: the parameters cell or the panel's choice; and lines that say which.

    A dry run that was chosen is one whatever the cell says.
    """
    panel = None if headless() else choice.read()
    from_panel = panel is not None and cell == Choice() and not overrides
    best = panel if panel is not None and from_panel else cell
    told = choice.told_dry_run()
    dry_run = told if told is not None else panel is not None and panel.dry_run
    origin = []
    if panel is not None:
        what = "chosen in the index's panel" if from_panel else "from the parameters cell, not from the index's panel"
        origin.append(f"platform {best.platform}, model {best.model}: {what}")
    if dry_run:
        by = choice.DRY_RUN if told else "the index's panel"
        origin.append(f"Dry run (by {by}): changes are previewed, and none is made.")
    return Choice(best.platform, best.model, bool(dry_run)), origin


def _mapping(overrides: Mapping[str, Any] | str | None) -> Mapping[str, Any]:
    if not isinstance(overrides, str):
        return overrides or {}
    return parameters.from_pairs(shlex.split(overrides.replace(",", " ")), "overrides")


def _require_permissions(book: Notebook) -> None:
    missing = k8s.refused(book.cluster, permissions(book.step, book.params.platform))
    if missing:
        raise RunbookError(
            f"{book.result.title}: {len(missing)} permissions are missing in {book.cluster.context}",
            why="\n".join(f"may not {rule}" + (f" ({reason})" if reason else "") for rule, reason in missing.items()),
            next_step="Ask whoever runs the cluster for them; nothing was changed.",
        )


def _require_nobody_else(book: Notebook) -> None:
    """Whoever changes something does it alone: in Lab no run may be at work, in a run only this one."""
    if not changes_something(book.step, book.params.platform):
        return
    held, mine = holder_of(book.cluster, book.namespace), os.environ.get(HOLDER)
    if held and held.holder != mine:
        raise held
    if mine and not held:
        raise RunbookError(
            "This run doesn't hold the Lease that it took",
            why="it could not be renewed in time, or somebody deleted it",
            next_step="Start the same command again.",
        )
