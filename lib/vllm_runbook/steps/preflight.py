"""Preflight: everything that would stop a later notebook, found before anything was changed."""

from __future__ import annotations

import os
import re
from itertools import chain

from .. import cluster as k8s
from ..cluster import Object, Ref
from ..notebook import Notebook
from ..permissions import TITLES, permissions
from ..tables import Table
from . import device_plugin, storage_classes
from .gpu_nodes import has_gpu, nodes_table

#: preStop's ``sleep`` action is on by default since Kubernetes 1.30.
MINIMUM = (1, 30)


def versions(book: Notebook) -> Table:
    """Version of the API server; notes the check."""
    info = book.cluster.json("GET", "/version", doing="Asking for the version")
    found = tuple(int(re.sub(r"\D", "", info[part]) or 0) for part in ("major", "minor"))
    wanted = ".".join(map(str, MINIMUM))
    book.check(f"Kubernetes is {wanted} or newer", found >= MINIMUM, f"it is {info['gitVersion']}")
    return Table(
        ("", ""), [("context", book.cluster.context), ("server", book.cluster.server), ("version", info["gitVersion"])]
    )


def access(book: Notebook, of: object = "all") -> Table:
    """The permissions of every notebook; notes the check. Rows are what is missing, for each that needs it.

    Args:
        of: only of these, by their numbers: ``00 09 30``.
    """
    numbers = [] if of == "all" else [int(word) for word in str(of).split()]
    chosen = {step: title for step, title in TITLES.items() if not numbers or int(step[:2]) in numbers}
    wanted = {step: sorted(set(permissions(step, book.params.platform))) for step in chosen}
    refused = k8s.refused(book.cluster, chain(*wanted.values()))
    missing = [
        (step, chosen[step], rule, refused[rule]) for step, rules in wanted.items() for rule in rules if rule in refused
    ]
    words = "; ".join(f"{step}: {rule}" for step, _, rule, _ in missing)
    which = "every notebook" if not numbers else f"notebooks {', '.join(step[:2] for step in chosen)}"
    book.check(f"we have the permissions for {which}", not missing, words)
    return Table(("notebook", "title", "missing permission", "reason"), missing or [("all", "", "none is missing", "")])


def nodes(book: Notebook) -> Table:
    """The nodes; notes whether some of them have GPUs, advertised yet or not."""
    found: list[Object] = list(book.cluster.list("Node"))
    resource = book.params.platform.gpu.resource
    book.check(
        "at least one node has a GPU",
        any(has_gpu(node, resource) for node in found),
        "neither a label nor a capacity says so; add GPU nodes",
    )
    return nodes_table(found, resource)


def plugins(book: Notebook) -> Table:
    """Device plugins that are there already; notes whether that agrees with ``device_plugin.mode``."""
    others = device_plugin.installed_elsewhere(book.cluster)
    managed = book.params.platform.device_plugin.mode == "managed"
    book.check(
        "no second device plugin would be installed",
        managed or not others,
        f"there is {', '.join(others)}; use it with -p device_plugin.mode=managed",
    )
    return Table(("device plugin of others",), [(name,) for name in others] or [("none",)])


def storage(book: Notebook) -> Table:
    """The storage classes that the strategy needs; notes the check."""
    rows = []
    problems = []
    for need in storage_classes.needs(book.params.platform):
        problem = storage_classes.check(book.cluster, need)
        problems += [problem] if problem else []
        rows.append((need.what_for, need.storage_class, need.mode, problem or "can"))
    strategy = book.params.platform.storage.strategy
    book.check(f"the storage classes can do what strategy {strategy} needs", not problems, "; ".join(problems))
    return Table(("for", "class", "access mode", "verdict"), rows or [("every node", "(a directory)", "", "can")])


def token(book: Notebook, *, downloads: bool = True) -> None:
    """Note whether a gated model's token is to be had, if there is something to download."""
    if not downloads:
        return
    model, secret = book.params.model, book.params.platform.hub.token_secret
    if not model.gated:
        book.check("no token is needed: the model is open", True)
        return
    there = bool(os.environ.get("HF_TOKEN"))
    if not there:
        try:
            there = book.cluster.find(Ref("Secret", secret.name, book.namespace)) is not None
        except k8s.ApiError:
            there = False
    book.check(
        "there is a token for the gated model", there, "set HF_TOKEN in the environment of Jupyter or the runner"
    )


def fit(book: Notebook) -> Table:
    """The sizing as a table; notes whether the model fits."""
    book.check("the model fits the GPUs", book.sizing.fits, book.sizing.explain())
    return Table(("", "value", "from"), book.sizing.table())
