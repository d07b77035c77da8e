"""Listing pods in every way there is: what each costs in time and bytes."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import plotly.graph_objects as go

from .. import cluster as k8s
from ..cluster import Cluster, Object, Program
from ..cluster.client import METADATA, PAGE, WHOLE
from ..notebook import Notebook
from ..plots import Timed, timed_figure
from ..tables import Table
from . import crowd, deploy
from .measuring import median_ms, must

TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"
KUBECTL, TYPED, LIBRARY = "kubectl, with its start", "kubernetes package, typed", "this library"
_CACHE = {"resourceVersion": "0"}


@dataclass(frozen=True)
class Answer:
    """What came back for one list: the decoded bodies, and their bytes as sent (``packed`` if that was gzip)."""

    pages: Sequence[Object]
    sent: int
    packed: bool = False


@dataclass(frozen=True)
class Found:
    """What the checks want to know of an answer: kept instead of it, for memory in use makes Python slower.

    Attributes:
        labels: of each pod, by namespace and name.
    """

    sent: int
    labels: Mapping[tuple[str, str], Mapping[str, str]]

    @classmethod
    def of(cls, answer: Answer) -> Found:
        metas = [item["metadata"] for page in answer.pages for item in page.get("items") or ()]
        return cls(answer.sent, {(meta["namespace"], meta["name"]): meta.get("labels", {}) for meta in metas})

    def crowd(self) -> frozenset[str]:
        """Names of the pods that are the crowd's."""
        return frozenset(name for namespace, name in self.labels if namespace == crowd.NAMESPACE)


@dataclass(frozen=True)
class Listing:
    """The measured ways by the names of their figures, and how many pods there were."""

    pods: int
    asked: int
    times: int
    ways: Mapping[str, Timed]

    def table(self) -> Table:
        rows = [(way.way, f"{way.ms:,.0f}" if way.ms else "", _bytes(way), way.note) for way in self.ways.values()]
        return Table(
            ("way", "ms", "bytes sent", ""), rows, f"Listing {self.pods:,} pods (median of {self.times}, warm)"
        )

    def figure(self) -> go.Figure:
        """The times as bars."""
        return timed_figure(list(self.ways.values()), f"Listing {self.pods:,} pods")


def _bytes(way: Timed) -> str:
    return "" if way.sent is None else f"{way.sent:,}" + (" (gzip)" if way.packed else "")


def measure(book: Notebook, asked: int, times: int = 5) -> Listing:
    """List all pods in every way, note figures (``list.pods_1000.…``) and checks.

    Args:
        asked: size of the crowd; 0 without one: then the pods that happen to be there are listed, and the
            figures are called ``list.pods_found.…``.
        times: how often each way is measured, after a first time that isn't counted.
    """
    selector = crowd.SELECTOR if asked else deploy.PODS
    ours: dict[str, Timed] = {}
    found: dict[str, Found] = {}
    for key, (way, do) in _requests(book.cluster, selector).items():
        ms, answer = median_ms(do, times)
        ours[key], found[key] = Timed(LIBRARY, way, ms, answer.sent, answer.packed), Found.of(answer)
        del answer
    ways = _by_kubectl(book, selector, times) | {"typed": _typed(book.cluster, found["json"].sent, times)} | ours
    listing = Listing(len(found["json"].labels), asked, times, ways)
    _note_checks(book, found, selector, asked)
    _note_figures(book, listing)
    return listing


def _note_figures(book: Notebook, listing: Listing) -> None:
    prefix = f"list.pods_{listing.asked or 'found'}"
    book.figure(f"{prefix}.pods", listing.pods)
    for key, way in listing.ways.items():
        if way.ms is not None:
            book.figure(f"{prefix}.{key}_ms", round(way.ms, 1))
        if way.sent is not None:
            book.figure(f"{prefix}.{key}_bytes", way.sent)


def _note_checks(book: Notebook, found: Mapping[str, Found], selector: str, asked: int) -> None:
    key, _, value = selector.partition("=")
    matching = [labels.get(key) == value for labels in found["selector"].labels.values()]
    book.check("a list with a label selector has only pods with that label", all(matching))
    book.check("metadata-only lists are smaller than whole ones", found["metadata"].sent < found["json"].sent)
    if asked:
        same = len({found[kind].crowd() for kind in ("json", "paged", "cached", "metadata", "metadata_cached")}) == 1
        book.check("pages, the watch cache and metadata-only lists have the same pods as the whole list", same)


# -- our own requests -------------------------------------------------------------------------


def _requests(cluster: Cluster, selector: str) -> dict[str, tuple[str, Callable[[], Answer]]]:
    """Ways by the names of their figures."""
    whole, small = WHOLE, METADATA.format("List")

    def ask(query: Mapping[str, Any], accept: str = whole, *, packed: bool = False) -> Callable[[], Answer]:
        return lambda: _list(cluster, query, accept, packed=packed)

    return {
        "json": ("whole list", ask({})),
        "gzip": ("whole list, gzip asked for", ask({}, packed=True)),
        "paged": (f"whole list in pages of {PAGE}", ask({"limit": PAGE})),
        "cached": ("whole list from the watch cache", ask(_CACHE)),
        "table": ("Table: printed columns only", ask({"includeObject": "None"}, TABLE)),
        "metadata": ("metadata only", ask({}, small)),
        "metadata_cached": ("metadata only from the watch cache", ask(_CACHE, small)),
        "selector": (f"label selector {selector}", ask({"labelSelector": selector})),
    }


def _list(cluster: Cluster, query: Mapping[str, Any], accept: str, *, packed: bool = False) -> Answer:
    """List pods of all namespaces, following pages."""
    pages, sent, was_packed, path = [], 0, False, cluster.path("Pod")
    headers = {"Accept-Encoding": "gzip"} if packed else {}
    query = dict(query)
    while True:
        response = cluster.raw("GET", path, query=query, accept=accept, headers=headers, doing="Listing pods")
        body = response.read(decode_content=False)
        sent += len(body)
        if response.headers.get("Content-Encoding") == "gzip":
            was_packed, body = True, gzip.decompress(body)
        page = json.loads(body)
        pages.append(page)
        query["continue"] = page["metadata"].get("continue")
        if not query["continue"]:
            return Answer(pages, sent, was_packed)


def _typed(cluster: Cluster, sent: int, times: int) -> Timed:
    """The ``kubernetes`` package's models for the same request; importing them (most of a second) isn't counted."""
    from kubernetes.client import CoreV1Api

    core, way = CoreV1Api(cluster.api), "CoreV1Api.list_pod_for_all_namespaces"
    try:
        ms, _ = median_ms(core.list_pod_for_all_namespaces, times)
    except ValueError as error:  # its models refuse fields that they don't know
        return Timed(TYPED, way, note=f"it can't read this server's pods: {str(error).splitlines()[0]}")
    return Timed(TYPED, way, ms, sent)


# -- kubectl ----------------------------------------------------------------------------------


def _by_kubectl(book: Notebook, selector: str, times: int) -> dict[str, Timed]:
    """kubectl as a person runs it; its time has the start of the process in it."""
    kubectl = k8s.program(book.cluster, "kubectl")
    if kubectl is None:
        return {"kubectl": Timed(KUBECTL, "kubectl get pods -A", note="kubectl isn't installed")}
    commands = {
        "kubectl": ("get", "pods", "-A"),
        "kubectl_selector": ("get", "pods", "-A", "-l", selector),
        "kubectl_json": ("get", "pods", "-A", "-o", "json"),
    }
    start, told = median_ms(partial(must, kubectl, "version", "--client"), times)
    version = told.partition("Client Version: ")[2].split("\n")[0]
    ways = {"kubectl_start": Timed(KUBECTL, f"kubectl version --client: only starts ({version})", start)}
    for key, command in commands.items():
        ms, _ = median_ms(partial(must, kubectl, *command), times)
        sent, packed = _sent(book.cluster, kubectl, command)
        ways[key] = Timed(KUBECTL, f"kubectl {' '.join(command)}", ms, sent, packed)
    return ways | {"server_side": _server_side(book, kubectl)}


def _server_side(book: Notebook, kubectl: Program) -> Timed:
    """The flag that guides recommend."""
    done = kubectl.run("get", "pods", "-A", "--server-side")
    said = next(iter(done.stderr.splitlines()), "")
    book.check("kubectl get has no --server-side", done.returncode != 0 and "unknown flag" in said, said)
    return Timed(KUBECTL, "kubectl get pods -A --server-side", note=said)


def _sent(cluster: Cluster, kubectl: Program, command: Sequence[str]) -> tuple[int | None, bool]:
    """Bytes of the answers to a command's requests for pods, which it logs and we repeat; None if it logs otherwise."""
    sent, packed = 0, False
    for url, accept in requests_in(kubectl.run(*command, "-v=8").stderr):
        parts = urlsplit(url.removeprefix(cluster.server))
        if parts.path.endswith("/pods"):
            query = dict(parse_qsl(parts.query))
            gzipped = {"Accept-Encoding": "gzip"}  # Go's client asks for it by itself
            response = cluster.raw("GET", parts.path, query=query, accept=accept, headers=gzipped)
            sent += len(response.read(decode_content=False))
            packed |= response.headers.get("Content-Encoding") == "gzip"
    return sent or None, packed


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
