"""Connecting: to the context that the parameters name, and to nothing else.

A notebook that acts on "the current context" acts, sooner or later, on somebody's production. So the
context is a parameter; the current one is never looked at.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3
import yaml
from kubernetes import client, config
from kubernetes.config.config_exception import ConfigException

from ..errors import RunbookError
from ..params import ParamsError, Platform
from ..params.errors import Problem, did_you_mean
from .client import Cluster
from .dry_run import DryClient

#: Packages may know kubeconfig files by themselves: an entry point is a function that returns their paths.
KUBECONFIGS = "vllm_runbook.kubeconfigs"


def connect(platform: Platform, *, dry_run: bool = False) -> Cluster:
    """A connection to the platform's cluster, tried with one request.

    With ``kubernetes.context: null`` it is the cluster that we run in (a pod's service account).

    Args:
        dry_run: nothing can be changed through it.

    Raises:
        ParamsError: no kubeconfig has the context; names the files looked into and the contexts there.
        RunbookError: the API server can't be reached or doesn't know us.
    """
    wanted = platform.kubernetes
    transport = DryClient if dry_run else client.ApiClient
    if wanted.context is None:
        cluster = Cluster(transport(_in_cluster()), "the cluster that this runs in")
    else:
        file = _find(wanted.context, wanted.kubeconfig)
        cluster = Cluster(transport(_from_file(file, wanted.context)), wanted.context, file)
    _try(cluster)
    return cluster


def _in_cluster() -> client.Configuration:
    settings = client.Configuration()
    try:
        config.load_incluster_config(settings)
    except ConfigException as error:
        raise RunbookError(
            "There is no cluster around this process",
            why=f"platform.kubernetes.context is null, which means: a pod's own service account. {error}",
            next_step="Name a context of your kubeconfig: -p kubernetes.context=NAME",
        ) from error
    return settings


def _find(context: str, explicit: str | None) -> Path:
    """The first kubeconfig file that has the context."""
    files = [Path(explicit).expanduser()] if explicit else list(dict.fromkeys(_candidates()))
    known: dict[str, Path] = {}
    for file in files:
        for name in _contexts(file):
            known.setdefault(name, file)
    if context in known:
        return known[context]
    looked = ", ".join(str(file) for file in files if file.is_file()) or "no kubeconfig file found"
    allowed = f"a context of {looked}; there: {', '.join(sorted(known)) or 'none'}"
    hint = did_you_mean(context, known)
    if context.startswith("sandbox-"):
        name = context.removeprefix("sandbox-")
        option = "" if name == "default" else f" --name {name}"
        hint = f"Is the sandbox up? `runbook sandbox up{option}`"
    raise ParamsError([Problem("argument", "platform.kubernetes.context", context, allowed, hint)])


def _candidates() -> Iterator[Path]:
    for part in os.environ.get("KUBECONFIG", "").split(os.pathsep):
        if part:
            yield Path(part).expanduser()
    yield Path.home() / ".kube" / "config"
    for entry in entry_points(group=KUBECONFIGS):
        yield from entry.load()()


def _contexts(file: Path) -> list[str]:
    try:
        document: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return []
    contexts = document.get("contexts") if isinstance(document, dict) else None
    return [item["name"] for item in contexts or () if isinstance(item, dict) and "name" in item]


def _from_file(file: Path, context: str) -> client.Configuration:
    settings = client.Configuration()
    try:
        config.load_kube_config(str(file), context=context, client_configuration=settings)
    except ConfigException as error:
        raise RunbookError(f"Context {context} of {file} can't be used", why=str(error)) from error
    host = urlsplit(settings.host).hostname or ""
    if host == "localhost" or host.startswith("127."):
        settings.proxy = None  # a proxy for the world has no business with this machine
    return settings


def _try(cluster: Cluster) -> None:
    try:
        cluster.raw("GET", "/version", timeout=10)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise RunbookError(
            f"The API server of {cluster.context} can't be reached",
            why=f"{cluster.server}: {error}",
            next_step="Is the cluster up, and the VPN or bastion if it needs one?",
        ) from error
