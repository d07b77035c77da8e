"""Listing pods in every way there is: what each costs in time and bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import plotly.graph_objects as go

from .. import cluster as k8s
from ..notebook import Notebook
from ..plots import Timed, timed_figure
from ..tables import Table
from . import crowd, deploy, list_ways
from .list_ways import Answer, Size
from .measuring import medians_ms

#: Ways whose answers have the same pods as the whole list.
_ALL_PODS = ("json", "gzip", "paged", "cached", "metadata", "metadata_cached")


@dataclass(frozen=True)
class Listing:
    """The measured ways by the names of their figures, and how many pods there were."""

    pods: int
    times: int
    ways: Mapping[str, Timed]

    def table(self) -> Table:
        rows = [
            (way.way, "" if way.ms is None else f"{way.ms:,.0f}", _bytes(way), way.note) for way in self.ways.values()
        ]
        title = f"Listing {self.pods:,} pods (median of {self.times}, warm)"
        return Table(("way", "ms", "bytes sent", "note"), rows, title)

    def figure(self) -> go.Figure:
        """The times as bars."""
        return timed_figure(list(self.ways.values()), f"Listing {self.pods:,} pods")


def _bytes(way: Timed) -> str:
    return "" if way.sent is None else f"{way.sent:,}" + (" (gzip)" if way.packed else "")


@dataclass(frozen=True)
class Found:
    """What is kept of an answer: its size, and the labels of its pods by namespace and name."""

    size: Size
    labels: Mapping[tuple[str, str], Mapping[str, str]]

    @classmethod
    def of(cls, answer: Answer) -> Found:
        metas = [item["metadata"] for page in answer.pages for item in page.get("items") or ()]
        return cls(answer.size, {(meta["namespace"], meta["name"]): meta.get("labels", {}) for meta in metas})

    @property
    def crowd(self) -> frozenset[str]:
        """Names of the pods that are the crowd's: others may come and go between two lists."""
        return frozenset(name for namespace, name in self.labels if namespace == crowd.NAMESPACE)


def measure(book: Notebook, asked: int, times: int = 5) -> Listing:
    """List all pods in every way, note figures (``list.pods_1000.…``) and checks.

    Args:
        asked: size of the crowd; 0 without one: then the pods that happen to be there are listed, and the
            figures are called ``list.pods_found.…``.
        times: how often each way is measured, after a first time that isn't counted.
    """
    selector = crowd.SELECTOR if asked else deploy.PODS
    kubectl = k8s.program(book.cluster, "kubectl")
    ways = {
        **list_ways.by_kubectl(kubectl, selector),
        "typed": list_ways.typed(book.cluster),
        **list_ways.by_library(book.cluster, selector),
    }
    found: dict[str, Found] = {}

    def keep(key: str, result: object) -> None:
        if isinstance(result, Answer):
            found[key] = Found.of(result)

    medians = medians_ms({key: way.do for key, way in ways.items() if way.do}, times, keep)
    sizes = {key: each.size for key, each in found.items()} | {"typed": found["json"].size}  # the very same request
    if kubectl is not None:
        sizes |= list_ways.kubectl_sizes(book.cluster, kubectl, selector)
        said = ways["server_side"].note
        book.check("kubectl get has no --server-side", "unknown flag" in said, said or "it takes the flag")
    rows = {}
    for key, way in ways.items():
        size = sizes.get(key, Size(None))
        rows[key] = Timed(way.by, way.title, medians.get(key), size.sent, size.packed, way.note)
    _note_checks(book, found, selector, asked)
    _note_figures(book, rows, f"list.pods_{asked or 'found'}")
    book.figure(f"list.pods_{asked or 'found'}.pods", len(found["json"].labels))
    return Listing(len(found["json"].labels), times, rows)


def _note_figures(book: Notebook, rows: Mapping[str, Timed], prefix: str) -> None:
    for key, row in rows.items():
        if row.ms is not None:
            book.figure(f"{prefix}.{key}_ms", round(row.ms, 1))
            if row.sent is not None:
                book.figure(f"{prefix}.{key}_bytes", row.sent)


def _note_checks(book: Notebook, found: Mapping[str, Found], selector: str, asked: int) -> None:
    key, _, value = selector.partition("=")
    selected = found["selector"].labels.values()
    book.check(
        "a list with a label selector has only pods with that label", all(each.get(key) == value for each in selected)
    )
    whole, small = found["json"].size.sent or 0, found["metadata"].size.sent or 0
    book.check("metadata-only lists are smaller than whole ones", small < whole, f"{small:,} and {whole:,} bytes")
    if asked:
        same = len({found[each].crowd for each in _ALL_PODS}) == 1
        book.check("pages, the watch cache and metadata-only lists have the same pods as the whole list", same)
