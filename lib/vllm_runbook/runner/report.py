"""A run for people: one HTML page that needs no network, with every notebook's prose, plots and results."""

from __future__ import annotations

import html
import re
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import nbformat
import plotly.io as pio
from nbconvert.filters import ansi2html, markdown2html
from nbconvert.filters.highlight import Highlight2HTML
from plotly.offline import get_plotlyjs
from pygments.formatters import HtmlFormatter

from ..plots import description
from . import figures
from .secrets import scrub
from .state import NOT_RUN, SKIPPED, Run, Step

FILE = "report.html"
_PLOTLY = "application/vnd.plotly.v1+json"
_PLOT = {"responsive": True, "displayModeBar": False}
_UNITS = {"seconds": "s", "bytes": "B", "tokens": "tokens", "gpus": "GPUs", "nodes": "nodes"}


def write(run: Run) -> Path:
    """Write the page; a notebook that didn't run yet has an empty section."""
    template = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        resources.files("vllm_runbook.runner").joinpath("report.html.txt").read_text(encoding="utf-8")
    )
    sections: list[dict[str, Any]] = [
        {"step": step, "cells": _cells(run.directory / f"{step.name}.ipynb", step)} for step in run.steps
    ]
    measured = figures.flat(run)
    plots = any("plotly-graph-div" in cell["html"] for section in sections for cell in section["cells"])
    page = template.render(
        run=run,
        sections=sections,
        cluster=next((step.result["cluster"] for step in run.steps if step.result.get("cluster")), ""),
        simulated=any(step.result.get("simulated") for step in run.steps),
        notice=next((step.result["notice"] for step in run.steps if step.result.get("notice")), ""),
        figures=[(name, _readable(name, value), step) for step in run.steps for name, value in _figures(step)],
        comparison=figures.comparison(measured),
        measured={name: value for name, value in measured.items() if "." in name},
        code_css=_code_css(),
        # The library writes itself into the page once; nothing is fetched from anywhere.
        plotly_js=get_plotlyjs() if plots else "",
    )
    target = run.directory / FILE
    target.write_text(scrub(page), encoding="utf-8")
    return target


def _figures(step: Step) -> list[tuple[str, Any]]:
    """Figures for the tiles; those with dotted names belong to tables."""
    found: dict[str, Any] = step.result.get("figures", {})
    return [(name, value) for name, value in found.items() if isinstance(value, int | float) and "." not in name]


def _readable(name: str, value: float) -> str:
    """``16099030`` of ``weights_bytes`` is 15.4 MiB."""
    unit = name.rpartition("_")[2]
    if unit == "bytes":
        for prefix in ("B", "KiB", "MiB", "GiB"):
            if value < 1024 or prefix == "GiB":
                return f"{value:.4g} {prefix}"
            value /= 1024
    return f"{value:g} {_UNITS.get(unit, '')}".strip()


def _cells(file: Path, step: Step) -> list[dict[str, str]]:
    """The executed notebook's cells as pieces of HTML."""
    if step.status in (NOT_RUN, SKIPPED) or not file.is_file():
        return []
    pieces = []
    for cell in nbformat.read(file, as_version=4).cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type == "markdown":
            pieces.append({"kind": "prose", "html": _prose(cell.source)})
        elif cell.cell_type == "code":
            if cell.source.strip() and "papermill-error-cell-tag" not in tags:
                pieces.append({"kind": "code", "html": Highlight2HTML()(cell.source, language="python")})
            kind = "verdict" if "verdict" in tags else "output"
            pieces += [{"kind": kind, "html": text} for output in cell.outputs if (text := _output(output))]
    return pieces


def _prose(source: str) -> str:
    """Markdown as HTML: headings one level down, links between notebooks as links in this page."""
    text = str(markdown2html(source))
    text = re.sub(r"<(/?)h([1-5])\b", lambda match: f"<{match[1]}h{int(match[2]) + 1}", text)
    text = re.sub(r'<a class="anchor-link".*?</a>', "", text)
    return re.sub(r'href="(\d\d_\w+)\.ipynb"', r'href="#\1"', text)


def _output(output: Any) -> str:
    if output.output_type == "stream":
        return f"<pre>{ansi2html(output.text.rstrip())}</pre>" if output.name == "stdout" else ""
    if output.output_type == "error":
        return f'<pre class="error">{html.escape(output.evalue)}</pre>'
    data = output.get("data", {})
    if _PLOTLY in data:
        return _plot(data)
    if "text/html" in data:
        return f'<div class="scroll">{data["text/html"]}</div>'
    return f"<pre>{html.escape(data['text/plain'])}</pre>" if "text/plain" in data else ""


def _plot(data: Any) -> str:
    """A figure, with its words below, and with more of them for those who can't see it."""
    figure = {"data": data[_PLOTLY]["data"], "layout": data[_PLOTLY]["layout"]}
    words = html.escape(str(data.get("text/plain", "")))
    label = html.escape(description(figure))
    drawn = pio.to_html(figure, include_plotlyjs=False, full_html=False, config=_PLOT, validate=False)
    return f'<figure><div role="img" aria-label="{label}">{drawn}</div><figcaption>{words}</figcaption></figure>'


def _code_css() -> str:
    light = HtmlFormatter(style="default").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    return f"{light}\n@media screen and (prefers-color-scheme: dark) {{ {dark} }}"
