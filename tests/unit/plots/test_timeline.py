"""The pod timeline: phases from pod objects as the API server sends them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from vllm_runbook import plots

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def pod(
    phase: str = "Pending",
    *,
    name: str = "vllm-a",
    node: str | None = "gpu-0",
    ready: bool = False,
    deleting: bool = False,
    init: dict[str, Any] | None = None,
    main: dict[str, Any] | None = None,
) -> dict[str, Any]:
    metadata = {"name": name, **({"deletionTimestamp": "2026-01-01T00:00:00Z"} if deleting else {})}
    status: dict[str, Any] = {"phase": phase, "conditions": [{"type": "Ready", "status": str(ready)}]}
    if init is not None:
        status["initContainerStatuses"] = [init]
    if main is not None:
        status["containerStatuses"] = [main]
    return {"metadata": metadata, "spec": {"nodeName": node} if node else {}, "status": status}


RUNNING: dict[str, Any] = {"state": {"running": {}}}
DONE: dict[str, Any] = {"state": {"terminated": {"exitCode": 0}}}
BACKOFF: dict[str, Any] = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}}
CREATING: dict[str, Any] = {"state": {"waiting": {"reason": "ContainerCreating"}}}


@pytest.mark.parametrize(
    ("state", "phase"),
    [
        (pod(node=None), "Pending"),
        (pod(init=RUNNING), "Init"),
        (pod(init=CREATING), "Init"),
        (pod(init=DONE, main=CREATING), "Creating"),
        (pod(init={"started": True, **RUNNING}, main=CREATING), "Creating"),  # a sidecar that has started
        (pod(init=BACKOFF), "Crashed"),
        (pod(main={"state": {"waiting": {"reason": "ImagePullBackOff"}}}), "Crashed"),
        (pod("Running", main=RUNNING), "Loading"),
        (pod("Running", main=RUNNING, ready=True), "Ready"),
        (pod("Running", main=BACKOFF), "Crashed"),
        (pod("Running", main={"state": {"terminated": {"exitCode": 137}}}), "Crashed"),
        (pod("Running", main=RUNNING, ready=True, deleting=True), "Terminating"),
        (pod("Succeeded"), "Completed"),
        (pod("Failed", deleting=True), "Failed"),
    ],
)
def test_phase(state: dict[str, Any], phase: str) -> None:
    assert plots.phase_of(state) == phase


def a_life() -> plots.PodTimeline:
    timeline = plots.PodTimeline()
    timeline.record(at(0), pod(node=None))
    timeline.record(at(1), pod(main=CREATING))
    timeline.record(at(2), pod("Running", main=RUNNING))
    timeline.record(at(3), pod("Running", main=RUNNING))  # nothing new: no new span
    timeline.record(at(10), pod("Running", main=RUNNING, ready=True))
    timeline.record(at(20), pod("Running", main=RUNNING, ready=True, deleting=True))
    timeline.record(at(25), pod("Running", main=RUNNING, deleting=True), deleted=True)
    return timeline


def test_spans_follow_each_other_without_gaps() -> None:
    spans = a_life().spans("vllm-a")
    assert [span.phase for span in spans] == ["Pending", "Creating", "Loading", "Ready", "Terminating"]
    assert [span.end for span in spans[:-1]] == [span.start for span in spans[1:]]
    assert spans[-1].end == at(25)


def test_figure_places_bars_in_seconds_since_the_first_event() -> None:
    bars = {trace.name: (trace.base[0], trace.x[0]) for trace in a_life().figure().data}
    assert bars == {"Pending": (0, 1), "Creating": (1, 1), "Loading": (2, 8), "Ready": (10, 10), "Terminating": (20, 5)}


def test_a_running_phase_ends_at_the_last_event() -> None:
    timeline = a_life()
    timeline.record(at(30), pod(name="vllm-b", node=None))
    timeline.record(at(40), pod(name="vllm-c", node=None))
    pending = next(trace for trace in timeline.figure().data if trace.name == "Pending")
    assert dict(zip(pending.y, pending.x, strict=True)) == {"vllm-a": 1, "vllm-b": 10, "vllm-c": 0}
    assert plots.alt_text(timeline.figure()) == "Pods over time: 3 pods, 2 pending, 1 gone."


def test_a_pod_of_the_same_name_comes_back() -> None:
    timeline = a_life()
    timeline.record(at(30), pod(node=None))
    assert [(span.phase, span.start) for span in timeline.spans("vllm-a")][-1] == ("Pending", at(30))


def test_restarts_are_marked_with_their_reason() -> None:
    timeline = plots.PodTimeline()
    timeline.record(at(0), pod("Running", main={**RUNNING, "restartCount": 0}, ready=True))
    killed = {**RUNNING, "restartCount": 1, "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}
    timeline.record(at(5), pod("Running", main=killed))
    timeline.record(at(9), pod("Running", main=killed, ready=True))
    mark = timeline.figure().data[-1]
    assert (mark.name, list(mark.x), list(mark.text)) == ("restart", [5], ["OOMKilled"])
    assert "1 restarts (OOMKilled)" in plots.alt_text(timeline.figure())


def test_scaled_time_is_named_on_the_axis() -> None:
    timeline = plots.PodTimeline(time_scale=20)
    timeline.record(at(0), pod())
    assert "load times / 20" in timeline.figure().layout.xaxis.title.text


def test_listeners_hear_of_every_event_until_they_leave() -> None:
    timeline, heard = plots.PodTimeline(), []
    leave = timeline.subscribe(lambda: heard.append(1))
    timeline.record(at(0), pod())
    timeline.record(at(1), pod())
    leave()
    leave()
    timeline.record(at(2), pod())
    assert len(heard) == 2


def test_of_very_many_pods_those_in_trouble_and_the_newest_are_drawn() -> None:
    timeline, many = plots.PodTimeline(), 5000
    for number in range(many):
        broken = BACKOFF if number == 7 else RUNNING
        timeline.record(at(number / 100), pod("Running", name=f"pod-{number}", main=broken, ready=number != 7))
    fig = timeline.figure()
    drawn = {name for trace in fig.data for name in trace.y}
    assert {"pod-7", "pod-4999"} <= drawn and len(drawn) == 80
    assert "80 of 5,000 drawn" in fig.layout.title.text
    assert plots.alt_text(fig) == "Pods over time: 5000 pods, 4999 ready, 1 crashed."
