"""kubectl and helm, run against the cluster that we are connected to, whatever their own idea of the current one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .. import tools
from .client import Cluster
from .dry_run import DryRunEnded

#: What changes nothing, by its first word.
_READING = ("get", "describe", "logs", "version", "template")
_CONTEXT_FLAG = {"kubectl": "--context", "helm": "--kube-context"}


@dataclass(frozen=True)
class Program:
    """A program that is bound to one cluster.

    Attributes:
        command: its path and the options that name the cluster.
        reads_only: whether it may not change anything (a dry run).
    """

    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    reads_only: bool = False

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run it to its end; a failure is for the caller to judge by ``returncode``.

        Raises:
            DryRunEnded: it may only read, and this would do more.
        """
        if self.reads_only and arguments[0] not in _READING:
            raise DryRunEnded(f"{Path(self.command[0]).name} {' '.join(arguments[:2])} would change something")
        env = {**os.environ, **self.env}
        return subprocess.run([*self.command, *arguments], input=stdin, capture_output=True, text=True, env=env)


def program(cluster: Cluster, name: str) -> Program | None:
    """``kubectl`` or ``helm`` for this cluster; None where it isn't installed."""
    found: Path | None = tools.find(name)
    if found is None:
        return None
    if cluster.kubeconfig is None:
        # Without any kubeconfig both use the pod's service account; an empty one keeps them off the user's.
        return Program((str(found),), {"KUBECONFIG": os.devnull}, cluster.dry_run)
    where = ("--kubeconfig", str(cluster.kubeconfig), _CONTEXT_FLAG[name], cluster.context)
    return Program((str(found), *where), reads_only=cluster.dry_run)
