"""The ways of listing pods: this library's requests, the typed client, and kubectl as a person runs it."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ..cluster import Cluster, Object, Program
from ..cluster.client import METADATA, PAGE, WHOLE
from .measuring import must

KUBECTL, TYPED, LIBRARY = "kubectl, with its start", "kubernetes package, typed", "this library"
_TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"
_CACHE = {"resourceVersion": "0"}


@dataclass(frozen=True)
class Way:
    """One way of listing; without ``do`` it doesn't work, and ``note`` says why."""

    by: str
    title: str
    do: Callable[[], Any] | None = None
    note: str = ""


@dataclass(frozen=True)
class Size:
    """Bytes of the answers' bodies as they were sent (``packed`` if that was gzip); None where they can't be told."""

    sent: int | None
    packed: bool = False


@dataclass(frozen=True)
class Answer:
    """What came back for one list: the decoded bodies, and what was sent."""

    pages: Sequence[Object]
    size: Size


# -- this library -----------------------------------------------------------------------------


def by_library(cluster: Cluster, selector: str) -> dict[str, Way]:
    """Our own requests by the names of their figures; each returns an Answer."""
    small = METADATA.format("List")
    queries: dict[str, tuple[str, dict[str, Any], str]] = {
        "json": ("whole list", {}, WHOLE),
        "gzip": ("whole list, gzip asked for", {}, WHOLE),
        "paged": (f"whole list in pages of {PAGE}", {"limit": PAGE}, WHOLE),
        "cached": ("whole list from the watch cache", _CACHE, WHOLE),
        "table": ("Table: printed columns only", {"includeObject": "None"}, _TABLE),
        "metadata": ("metadata only", {}, small),
        "metadata_cached": ("metadata only from the watch cache", _CACHE, small),
        "selector": (f"label selector {selector}", {"labelSelector": selector}, WHOLE),
    }
    return {
        key: Way(LIBRARY, title, partial(_list, cluster, query, accept, packed=key == "gzip"))
        for key, (title, query, accept) in queries.items()
    }


def _list(cluster: Cluster, query: Mapping[str, Any], accept: str, *, packed: bool) -> Answer:
    """List pods of all namespaces, following pages."""
    pages, sent, was_packed, query = [], 0, False, dict(query)
    while True:
        body, is_packed = _body(cluster, cluster.path("Pod"), query, accept, packed=packed)
        sent, was_packed = sent + len(body), was_packed or is_packed
        page = json.loads(gzip.decompress(body) if is_packed else body)
        pages.append(page)
        query["continue"] = page["metadata"].get("continue")
        if not query["continue"]:
            return Answer(pages, Size(sent, was_packed))


def _body(cluster: Cluster, path: str, query: Mapping[str, Any], accept: str, *, packed: bool) -> tuple[bytes, bool]:
    """The body of one answer as it was sent, and whether that is gzip; the server packs large ones for who asks."""
    headers = {"Accept-Encoding": "gzip"} if packed else {}
    response = cluster.raw("GET", path, query=query, accept=accept, headers=headers, doing="Listing pods")
    return response.read(decode_content=False), response.headers.get("Content-Encoding") == "gzip"


# -- the typed client -------------------------------------------------------------------------


def typed(cluster: Cluster) -> Way:
    """The ``kubernetes`` package's models for the whole list; importing them (most of a second) isn't in its time."""
    from kubernetes.client import CoreV1Api

    do, title = CoreV1Api(cluster.api).list_pod_for_all_namespaces, "CoreV1Api.list_pod_for_all_namespaces"
    try:
        do(limit=1)
    except ValueError as error:  # its models refuse fields that they don't know
        return Way(TYPED, title, note=f"it can't read this server's pods: {str(error).splitlines()[0]}")
    return Way(TYPED, title, do)


# -- kubectl ----------------------------------------------------------------------------------


def by_kubectl(kubectl: Program | None, selector: str) -> dict[str, Way]:
    """kubectl's commands by the names of their figures; its start alone comes first, to be subtracted."""
    if kubectl is None:
        return {"kubectl": Way(KUBECTL, "kubectl get pods -A", note="kubectl isn't installed")}
    version = must(kubectl, "version", "--client").partition("Client Version: ")[2].split("\n")[0]
    start = Way(
        KUBECTL, f"kubectl version --client: only starts ({version})", partial(must, kubectl, "version", "--client")
    )
    gets = {
        key: Way(KUBECTL, f"kubectl {' '.join(command)}", partial(must, kubectl, *command))
        for key, command in _commands(selector).items()
    }
    server_side = Way(KUBECTL, "kubectl get pods -A --server-side", note=server_side_error(kubectl))
    return {"kubectl_start": start, **gets, "server_side": server_side}


def _commands(selector: str) -> dict[str, Sequence[str]]:
    return {
        "kubectl": ("get", "pods", "-A"),
        "kubectl_selector": ("get", "pods", "-A", "-l", selector),
        "kubectl_json": ("get", "pods", "-A", "-o", "json"),
    }


def server_side_error(kubectl: Program) -> str:
    """What kubectl says to the flag that guides recommend; empty if it takes it."""
    done = kubectl.run("get", "pods", "-A", "--server-side")
    return done.stderr.partition("\n")[0] if done.returncode else ""


def kubectl_sizes(cluster: Cluster, kubectl: Program, selector: str) -> dict[str, Size]:
    """Bytes of the answers to kubectl's own requests for pods: it logs them, and we repeat them."""
    sizes = {}
    for key, command in _commands(selector).items():
        bodies = []
        for url, accept in requests_in(kubectl.run(*command, "-v=8").stderr):
            parts = urlsplit(url.removeprefix(cluster.server))
            if parts.path.endswith("/pods"):
                # Go's client asks for gzip by itself.
                bodies.append(_body(cluster, parts.path, dict(parse_qsl(parts.query)), accept, packed=True))
        sent = sum(len(body) for body, _ in bodies)
        sizes[key] = Size(sent or None, any(packed for _, packed in bodies))
    return sizes


#: Both forms of kubectl's log: since client-go 1.33 fields with names, before that plain lines.
_GET = re.compile(r'(?:verb="GET" url="|\] GET )(https?://[^"\s]+)')
_ACCEPT = re.compile(r"^(?:I.*\])?\s+Accept: (.*)$")


def requests_in(log: str) -> Iterator[tuple[str, str]]:
    """URL and Accept header of each GET in what ``kubectl -v=8`` writes."""
    url = ""
    for line in log.splitlines():
        if found := _GET.search(line):
            url = found[1]
        elif url and (found := _ACCEPT.match(line)):
            yield url, found[1]
            url = ""
