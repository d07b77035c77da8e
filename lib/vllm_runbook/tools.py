"""Programs that a step may use when they are there, such as kubectl: found, never fetched."""

from __future__ import annotations

import shutil
from importlib.metadata import entry_points
from pathlib import Path

from .cluster import Cluster
from .errors import RunbookError

#: Packages may have programs of their own: an entry point is a function from a program's name to its path, or None.
GROUP = "vllm_runbook.tools"


def find(name: str) -> Path | None:
    """The program on PATH; else the first that a package has; else None."""
    if found := shutil.which(name):
        return Path(found)
    for entry in entry_points(group=GROUP):
        path: Path | None = entry.load()(name)
        if path is not None:
            return path
    return None


def command(name: str, cluster: Cluster) -> list[str]:
    """``kubectl`` or ``helm``, told to act on the cluster that we are connected to and on no other.

    Raises:
        RunbookError: it isn't there.
    """
    program = find(name)
    if program is None:
        raise RunbookError(f"There is no {name}", next_step=f"Install {name}, or put it on PATH.")
    if cluster.kubeconfig is None:  # in the cluster: both find the service account by themselves
        return [str(program)]
    option = "--kube-context" if name == "helm" else "--context"
    return [str(program), "--kubeconfig", str(cluster.kubeconfig), option, cluster.context]
