"""Making the same objects by kubectl, by helm and by this library: how long each takes."""

from __future__ import annotations

import contextlib
import io
import itertools
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
from .measuring import medians_ms, must

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
        rows = [(way.by, way.way, "" if way.ms is None else f"{way.ms:,.0f}", way.note) for way in self.ways.values()]
        return Table(("by", "way", "ms", "note"), rows, f"Making {self.count} ConfigMaps")

    def figure(self) -> go.Figure:
        """The times as bars."""
        return timed_figure(list(self.ways.values()), f"Making {self.count} ConfigMaps")


def measure(book: Notebook, count: int = 100, times: int = 3) -> Applying:
    """Make new objects in every way, note figures (``apply.objects_100.…``) and a check, and remove them.

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
    medians = _medians_ms(book, {key: make for key, make in makers.items() if make}, count, times)
    ways = {}
    for key, title in _TITLES.items():
        by = "this library" if key == "library" else key.partition("_")[0]
        ways[key] = Timed(by, title, medians.get(key), note="" if key in medians else f"{by} isn't installed")
        if key in medians:
            book.figure(f"apply.objects_{count}.{key}_ms", round(medians[key], 1))
    return Applying(count, ways)


def _medians_ms(book: Notebook, makers: Mapping[str, Make], count: int, times: int) -> dict[str, float]:
    """Every run has objects of its own; all are removed at the end."""
    _remove(book)  # what an interrupted run left
    runs = {key: itertools.count() for key in makers}
    ways = {
        key: lambda key=key, make=make: make(_config_maps(key, next(runs[key]), count)) for key, make in makers.items()
    }
    try:
        medians = medians_ms(ways, times)
        made = {key: _made(book, key) for key in makers}
        wrong = [f"{_TITLES[key]}: {number}" for key, number in made.items() if number != count * (times + 1)]
        book.check("every way made all of its objects", not wrong, f"{count * (times + 1)} each; {', '.join(wrong)}")
        return medians
    finally:
        _remove(book)


def _made(book: Notebook, key: str) -> int:
    return sum(1 for _ in book.cluster.list("ConfigMap", crowd.NAMESPACE, labels=f"{_LABEL}={key}", metadata_only=True))


def _remove(book: Notebook) -> None:
    for key in _TITLES:
        book.cluster.delete_all("ConfigMap", crowd.NAMESPACE, labels=f"{_LABEL}={key}")
    book.cluster.delete_all("Secret", crowd.NAMESPACE, labels="owner=helm")  # helm's record of a release


def _config_maps(key: str, run: int, count: int) -> list[Object]:
    prefix = f"{key.replace('_', '-')}-{run}"
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"{prefix}-{number:03}", "namespace": crowd.NAMESPACE, "labels": {_LABEL: key}},
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
        name = items[0]["metadata"]["name"]
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
