"""Helm charts, rendered by helm and applied by us: previewed, owned and undone like everything else."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from .cluster import Object
from .errors import RunbookError
from .tools import find


@dataclass(frozen=True)
class Chart:
    """One chart of a repository, and the release to render it as."""

    repo: str
    name: str
    version: str
    release: str
    namespace: str


def render(chart: Chart, values: Mapping[str, Any], *, instead: str) -> list[Object]:
    """The chart's objects.

    Args:
        instead: the parameter (NAME=VALUE) that does without helm, for errors.

    Raises:
        RunbookError: there is no helm, or it can't render the chart.
    """
    helm = find("helm")
    if helm is None:
        raise RunbookError(
            f"{chart.name} is to come from its chart, and there is no helm",
            next_step=f"Install helm, or use our own manifest: -p {instead}",
        )
    command = [str(helm), "template", chart.release, chart.name, "--repo", chart.repo, "--version", chart.version]
    command += ["--namespace", chart.namespace]
    for name, value in values.items():
        command += ["--set-json", f"{name}={json.dumps(value)}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RunbookError(
            f"helm can't render {chart.name} {chart.version} from {chart.repo}",
            why=done.stderr.strip(),
            next_step=f"Is the repository reachable? Without it: -p {instead}",
        )
    objects = [item for item in yaml.safe_load_all(done.stdout) if item]
    return [_placed(item, chart.namespace) for item in objects]


#: Kinds of the charts that we use that live in no namespace; `helm template` leaves the namespace out of the others.
_CLUSTER_SCOPED = (
    "APIService",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "Namespace",
    "PriorityClass",
    "RuntimeClass",
    "ValidatingWebhookConfiguration",
)


def _placed(item: Object, namespace: str) -> Object:
    if item["kind"] not in _CLUSTER_SCOPED:
        item["metadata"].setdefault("namespace", namespace)
    return item
