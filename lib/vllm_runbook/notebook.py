"""What every notebook starts with: validated parameters, a connection, and the permissions checked.

>>> book = begin("04_deploy_vllm", "sandbox", "qwen3-8b", {})    # doctest: +SKIP
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from . import cluster as k8s
from . import params as parameters
from . import sizing as sizes
from .cluster import Cluster, Object, Plan
from .errors import RunbookError
from .params import Params
from .params.errors import ParamsError, Problem
from .permissions import TITLES, permissions
from .sizing import Sizing
from .verdict import Result


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
        notice = params.platform.notice
        self.result = Result(step, TITLES[step], cluster.context, simulated=notice is not None)

    @property
    def namespace(self) -> str:
        """Namespace of everything that serves models."""
        return self.params.platform.namespace

    def plan(self, items: Iterable[Object], *, force: bool = False, adopt: bool = False) -> Plan:
        """Preview objects (see cluster.plan)."""
        return k8s.plan(self.cluster, items, self.step, force=force, adopt=adopt)

    def apply(self, plan: Plan) -> None:
        """Make a previewed change, and count what changed."""
        done = k8s.apply(self.cluster, plan)
        self.result.changed += len(done.changed)
        self.result.unchanged += len(done.unchanged)

    def put(self, item: Object) -> None:
        """Apply one object at once and uncounted: what a trial does, and what is taken back or doesn't matter after."""
        (change,) = self.plan([item]).changes
        self.cluster.apply(change.desired)

    def check(self, statement: str, ok: bool, detail: str = "") -> None:
        """Note something for the verdict."""
        self.result.check(statement, ok, detail)

    def figure(self, name: str, value: Any) -> None:
        """Note a measured value for summary.json; the name ends with the unit."""
        self.result.figures[name] = value

    def verdict(self) -> None:
        """Print what holds; the last cell of every notebook."""
        self.result.close()


def begin(step: str, platform: str, model: str, overrides: Mapping[str, Any] | str | None = None) -> Notebook:
    """Validate the parameters, connect to the cluster they name, and ask whether we may do this step.

    Args:
        step: the notebook's file name without its ending.
        platform, model: names of parameter files, or paths.
        overrides: single values by dotted name; or, for papermill's -p, text: ``storage.class=efs-sc
            max_model_len=8192``.

    Raises:
        ParamsError: before anything touches the cluster.
        RunbookError: the cluster can't be reached, or permissions are missing; names each.
    """
    params = parameters.load(platform, model, _mapping(overrides))
    cluster = k8s.connect(params.platform)
    book = Notebook(step, params, cluster)
    _require_permissions(book)
    print(f"{book.result.title}: {params.model.hub_id} on {params.platform.title} (context {cluster.context})")
    if params.platform.notice:
        print(params.platform.notice)
    return book


def _mapping(overrides: Mapping[str, Any] | str | None) -> Mapping[str, Any]:
    if not isinstance(overrides, str):
        return overrides or {}
    words = shlex.split(overrides.replace(",", " "))
    if bad := [word for word in words if "=" not in word]:
        raise ParamsError([Problem("argument", "overrides", bad[0], "text must be NAME=VALUE, separated by spaces")])
    return dict(word.split("=", 1) for word in words)


def _require_permissions(book: Notebook) -> None:
    missing = k8s.refused(book.cluster, permissions(book.step, book.params.platform))
    if missing:
        raise RunbookError(
            f"{book.result.title}: {len(missing)} permissions are missing in {book.cluster.context}",
            why="\n".join(f"may not {rule}" + (f" ({reason})" if reason else "") for rule, reason in missing),
            next_step="Ask whoever runs the cluster for them; nothing was changed.",
        )
