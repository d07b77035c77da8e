"""Figures from plain dicts: what they count, and that each can be read and heard."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import plotly.graph_objects as go
import pytest

from vllm_runbook import params, plots, sizing
from vllm_runbook.plots import theme

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def node(name: str, capacity: int, allocatable: int | None = None) -> dict[str, Any]:
    given = capacity if allocatable is None else allocatable
    gpus = {"nvidia.com/gpu": str(capacity)}, {"nvidia.com/gpu": str(given)}
    return {"metadata": {"name": name}, "status": {"capacity": gpus[0], "allocatable": gpus[1]}}


def gpu_pod(name: str, gpus: int, node_name: str | None = None, phase: str = "Running") -> dict[str, Any]:
    container = {"name": "vllm", "resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}
    spec: dict[str, Any] = {"containers": [container]}
    if node_name:
        spec["nodeName"] = node_name
    return {"metadata": {"name": name}, "spec": spec, "status": {"phase": phase}}


def every_figure() -> dict[str, go.Figure]:
    loaded = params.load("sandbox", "qwen3-8b")
    timeline = plots.PodTimeline()
    timeline.record(at(0), gpu_pod("a", 1, phase="Pending"))
    timeline.record(at(5), gpu_pod("a", 1, "gpu-0"))
    progress = plots.PrefetchProgress({"model.safetensors": 2**30})
    progress.record(at(0), {"model.safetensors": 2**20})
    return {
        "nodes": plots.nodes_figure([node("gpu-0", 4)], [gpu_pod("a", 1, "gpu-0")]),
        "timeline": timeline.figure(),
        "workloads": plots.workloads_figure([("Deployment a", "Ready"), ("Deployment a", "Crashed")]),
        "no workloads": plots.workloads_figure([]),
        "empty timeline": plots.PodTimeline().figure(),
        "prefetch": progress.figure(),
        "empty prefetch": plots.PrefetchProgress({}).figure(),
        "timed": plots.timed_figure([plots.Timed("kubectl", "get", 120, 2**21, True)], "Listing"),
        "nothing timed": plots.timed_figure([plots.Timed("kubectl", "get", note="not installed")], "Listing"),
        "memory": plots.memory_figure(sizing.size(loaded)),
    }


@pytest.mark.parametrize("name", list(every_figure()))
def test_every_figure_has_title_units_and_words(name: str) -> None:
    fig = every_figure()[name]
    assert fig.layout.title.text
    axes = [fig.layout.xaxis.title.text, fig.layout.yaxis.title.text]
    assert any(re.search(r"\((m?s|B|.iB|pods|nvidia\.com/gpu)\)", axis or "") for axis in axes)
    assert plots.alt_text(fig).endswith(".")
    assert len(json.loads(fig.to_json())) and len(fig.to_json()) < 20_000
    assert fig.layout.template.layout.paper_bgcolor == "rgba(0,0,0,0)"


def luminance(colour: str) -> float:
    channels = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("background", ["#ffffff", "#111111"])
def test_text_is_readable_on_light_and_dark(background: str) -> None:
    dark, light = sorted((luminance(theme.TEXT), luminance(background)))
    assert (light + 0.05) / (dark + 0.05) > 4


def test_gpu_usage_counts_what_the_scheduler_counts() -> None:
    nodes = [node("gpu-1", 4, 3), node("gpu-0", 4), node("cpu-0", 0)]
    init = gpu_pod("b", 1, "gpu-1")
    init["spec"]["initContainers"] = [{"name": "check", "resources": {"requests": {"nvidia.com/gpu": 2}}}]
    pods = [gpu_pod("a", 2, "gpu-0"), init, gpu_pod("done", 4, "gpu-0", "Succeeded"), gpu_pod("w", 3, phase="Pending")]
    assert plots.gpu_usage(nodes, pods) == [plots.NodeGpus("gpu-0", 4, 4, 2), plots.NodeGpus("gpu-1", 4, 3, 2)]
    assert plots.waiting_gpus(pods) == 3
    fig = plots.nodes_figure(nodes, pods)
    assert fig.layout.title.text == "GPUs: 4 of 7 used, 3 more asked for"
    assert {trace.name: list(trace.y) for trace in fig.data} == {
        "used": [2, 2],
        "free": [2, 1],
        "not allocatable": [0, 1],
    }


def test_a_node_whose_plugin_died_still_shows_its_pods() -> None:
    usage = plots.gpu_usage([node("gpu-0", 0)], [gpu_pod("a", 1, "gpu-0")])
    assert usage == [plots.NodeGpus("gpu-0", 0, 0, 1)]
    assert usage[0].free == 0


def test_no_gpus_anywhere() -> None:
    assert plots.alt_text(plots.nodes_figure([node("cpu", 0)], [])) == "GPUs: 0 of 0 used. No node has GPUs."


def test_prefetch_counts_bytes_and_never_more_than_a_file_has() -> None:
    progress = plots.PrefetchProgress({"a": 3 * 2**30, "b": 2**30})
    assert (progress.done, progress.complete) == (0, False)
    progress.record(at(0), {"a": 2**30})
    progress.record(at(10), {"b": 2**40})
    assert progress.done == 2 * 2**30
    fig = progress.figure()
    assert list(fig.data[0].x) == [0, 10]
    assert list(fig.data[0].y) == [1, 2]
    assert [round(share) for share in fig.data[1].x] == [33, 100]
    assert "2.00 of 4.00 GiB (50%, 1 of 2 files incomplete)" in plots.alt_text(fig)
    progress.record(at(20), {"a": 3 * 2**30})
    assert progress.complete
    assert "(complete)" in plots.alt_text(progress.figure())


def test_prefetch_of_small_files_uses_a_small_unit() -> None:
    progress = plots.PrefetchProgress({"a": 4 * 2**20})
    assert progress.figure().layout.yaxis.title.text == "bytes present (MiB)"


def test_memory_figure_adds_up_to_the_usable_memory() -> None:
    sized = sizing.size(params.load("sandbox", "qwen3-8b"))
    fig = plots.memory_figure(sized)
    assert sum(trace.x[0] for trace in fig.data) == pytest.approx(sized.gpu.usable / 2**30)
    assert fig.layout.title.text == "Memory per GPU: fits"


def test_memory_figure_compares_a_misfit_with_its_remedy() -> None:
    loaded = params.load("sandbox", "llama-3.1-70b-instruct", {"tensor_parallel_size": 1})
    both = {"TP 1": sizing.size(loaded), "TP 4": sizing.size(loaded.replace({"tensor_parallel_size": 4}))}
    fig = plots.memory_figure(both)
    assert fig.layout.title.text == "Memory per GPU: does not fit: TP 1"
    bars = [sum(trace.x[row] for trace in fig.data) for row in (0, 1)]
    assert bars[0] > 80 > bars[1]
    assert "TP 1 does not fit: 131.4 GiB weights" in plots.alt_text(fig)


def test_of_very_many_nodes_those_with_hidden_and_free_gpus_are_drawn() -> None:
    nodes = [node(f"gpu-{number:04}", 4, 3 if number == 1234 else 4) for number in range(3000)]
    pods = [gpu_pod(f"p{number}", 4, f"gpu-{number:04}") for number in range(3000) if number not in (7, 1234)]
    fig = plots.nodes_figure(nodes, pods)
    assert {"gpu-0007", "gpu-1234"} <= set(fig.data[0].x) and len(fig.data[0].x) == 80
    assert "80 of 3,000 nodes drawn" in fig.layout.title.text and "11992 of 11999 used" in fig.layout.title.text
