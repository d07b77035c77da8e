"""Making the same objects by kubectl, by helm and by this library: how long each takes."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import plotly.graph_objects as go

from .. import cluster as k8s
from ..cluster import Object, Program
from ..notebook import Notebook
from ..plots import Timed, timed_figure
from ..tables import Table
from . import crowd
from .measuring import median_ms, must

_LABEL = "runbook.vllm.dev/measured"
_TITLES = {
    "kubectl": "kubectl apply --server-side",
    "kubectl_client": "kubectl apply",
    "kubectl_diff": "kubectl diff, then apply, --server-side",
    "helm": "helm install",
    "library": "plan, then apply",
}

Make = Callable[[list[Object]], None]


@dataclass(frozen=True)
class Applying:
    """The measured ways by the names of their figures."""

    count: int
    ways: Mapping[str, Timed]

    def table(self) -> Table:
        rows = [(way.by, way.way, f"{way.ms:,.0f}" if way.ms else "", way.note) for way in self.ways.values()]
        return Table(("by", "way", "ms", ""), rows, f"Making {self.count} ConfigMaps")

    def figure(self) -> go.Figure:
        """The times as bars."""
        return timed_figure(list(self.ways.values()), f"Making {self.count} ConfigMaps")


def measure(book: Notebook, count: int = 100, times: int = 3) -> Applying:
    """Make new objects in every way, note figures (``apply.objects_100.…``) and the check, and remove them.

    It happens in the crowd's namespace; without one (``rehearsal.crowd``) nothing is made.
    """
    if not book.params.platform.rehearsal.crowd:
        print("nothing is made: rehearsal.crowd is false for this platform")
        return Applying(0, {})
    kubectl, helm = k8s.program(book.cluster, "kubectl"), k8s.program(book.cluster, "helm")
    makers: dict[str, Make | None] = {
        "kubectl": _kubectl(kubectl, "--server-side"),
        "kubectl_client": _kubectl(kubectl),
        "kubectl_diff": _kubectl(kubectl, "--server-side", diff=True),
        "helm": _helm(helm),
        "library": _library(book),
    }
    ways = {}
    for key, make in makers.items():
        by = key.partition("_")[0] if key != "library" else "this library"
        ms = _median_ms(book, make, key, count, times) if make else None
        ways[key] = Timed(by, _TITLES[key], ms, note="" if make else f"{by} isn't installed")
        if ms is not None:
            book.figure(f"apply.objects_{count}.{key}_ms", round(ms, 1))
    return Applying(count, ways)


def _median_ms(book: Notebook, make: Make, key: str, count: int, times: int) -> float:
    """Every run has objects of its own; all are removed at the end."""
    runs = iter(range(times + 1))
    _remove(book)  # what an interrupted run left
    try:
        ms, _ = median_ms(lambda: make(_config_maps(f"{key.replace('_', '-')}-{next(runs)}", count)), times)
        made = sum(1 for _ in book.cluster.list("ConfigMap", crowd.NAMESPACE, labels=_LABEL, metadata_only=True))
        wanted = count * (times + 1)
        book.check(f"{_TITLES[key]} made every object", made == wanted, f"{made} of {wanted}")
        return ms
    finally:
        _remove(book)


def _remove(book: Notebook) -> None:
    book.cluster.delete_all("ConfigMap", crowd.NAMESPACE, labels=_LABEL)
    book.cluster.delete_all("Secret", crowd.NAMESPACE, labels="owner=helm")  # helm's record of a release


def _config_maps(prefix: str, count: int) -> list[Object]:
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"{prefix}-{number:03}", "namespace": crowd.NAMESPACE, "labels": {_LABEL: prefix}},
            "data": {"settings.yaml": f"number: {number}\nlevel: info\n"},
        }
        for number in range(count)
    ]


def _kubectl(kubectl: Program | None, *options: str, diff: bool = False) -> Make | None:
    if kubectl is None:
        return None

    def make(items: list[Object]) -> None:
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        if diff:
            kubectl.run("diff", *options, "-f", "-", stdin=text)  # exit code 1: there is a difference
        must(kubectl, "apply", *options, "-f", "-", stdin=text)

    return make


def _helm(helm: Program | None) -> Make | None:
    if helm is None:
        return None

    def make(items: list[Object]) -> None:
        name = items[0]["metadata"]["labels"][_LABEL]
        with tempfile.TemporaryDirectory(prefix="runbook-chart-") as directory:
            _write_chart(Path(directory), name, items)
            must(helm, "install", name, directory, "--namespace", crowd.NAMESPACE)

    return make


def _write_chart(directory: Path, name: str, items: list[Object]) -> None:
    """A chart of plain objects; JSON is YAML."""
    (directory / "Chart.yaml").write_text(f"apiVersion: v2\nname: {name}\nversion: 1.0.0\n", encoding="utf-8")
    (directory / "templates").mkdir()
    text = "\n---\n".join(json.dumps(item) for item in items)
    (directory / "templates" / "objects.yaml").write_text(text, encoding="utf-8")


def _library(book: Notebook) -> Make:
    def make(items: list[Object]) -> None:
        with contextlib.redirect_stdout(io.StringIO()):  # a line per object
            k8s.apply(book.cluster, k8s.plan(book.cluster, items, book.step))

    return make
