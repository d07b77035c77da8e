"""What an experiment makes of the events it sees."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from vllm_runbook import cluster
from vllm_runbook.cluster.stream import Events, Seen
from vllm_runbook.notebook import Notebook
from vllm_runbook.params import load
from vllm_runbook.plots import alt_text
from vllm_runbook.steps.autoscaling import Policy
from vllm_runbook.steps.experiment import Experiment
from vllm_runbook.steps.load import Load, Target
from vllm_runbook.steps.scale_up import ScaleUp, _breach

ZERO = datetime(2026, 1, 1, tzinfo=UTC)
EVENTS = cast(Events, None)


@pytest.fixture
def experiment() -> Experiment:
    book = cast(Notebook, type("Book", (), {"params": load("sandbox", "tiny")}))
    return Experiment(book, Load("x"), Target("llm", "s", "vllm", "app=vllm"))


def at(seconds: float) -> datetime:
    return ZERO + timedelta(seconds=seconds)


def pod(name: str, *, ready: bool = True, ended: dict[str, Any] | None = None, leaving: bool = False) -> dict[str, Any]:
    container: dict[str, Any] = {"name": "vllm", "restartCount": 0, "state": {"running": {}}, "lastState": {}}
    if ended:
        container |= {"restartCount": 1, "lastState": {"terminated": ended}}
    meta = {"name": name, "namespace": "llm", "uid": name} | ({"deletionTimestamp": "now"} if leaving else {})
    conditions = [{"type": "Ready", "status": str(ready)}, {"type": "PodScheduled", "status": "True"}]
    status = {"phase": "Running", "conditions": conditions, "containerStatuses": [container]}
    return {"kind": "Pod", "metadata": meta, "spec": {"nodeName": "gpu-0"}, "status": status}


def see(experiment: Experiment, seconds: float, item: dict[str, Any], kind: str = "MODIFIED") -> None:
    experiment.take(Seen(kind, None, item, at=at(seconds)), EVENTS)


def say(experiment: Experiment, **told: Any) -> None:
    experiment.take(Seen("LINE", None, {}, line=json.dumps(told)), EVENTS)


def sample(second: int, in_flight: int, **counts: int) -> dict[str, Any]:
    zero = dict.fromkeys(("sent", "complete", "dropped", "rejected", "retried"), 0)
    return {"event": "sample", "second": second, "in_flight": in_flight, **zero, **counts}


KILLED = {"reason": "OOMKilled", "exitCode": 137, "finishedAt": "2026-01-01T00:00:05Z"}


def test_an_end_is_counted_once_however_often_it_is_seen(experiment: Experiment) -> None:
    see(experiment, 0, pod("a"), "ADDED")
    for seconds in (5, 6, 7):
        see(experiment, seconds, pod("a", ready=False, ended=KILLED))
    see(experiment, 8, pod("a", ready=False, ended={**KILLED, "finishedAt": "2026-01-01T00:00:08Z"}))
    assert experiment.oom_killed == 2


def test_what_had_ended_before_is_none_of_it(experiment: Experiment) -> None:
    see(experiment, 0, pod("a", ended=KILLED), "ADDED")
    see(experiment, 1, pod("a", ended=KILLED))
    assert experiment.oom_killed == 0


def test_ready_pods_are_counted_without_those_that_leave(experiment: Experiment) -> None:
    see(experiment, 0, pod("a"), "ADDED")
    see(experiment, 1, pod("b"), "ADDED")
    see(experiment, 2, pod("a", leaving=True))
    see(experiment, 3, pod("a"), "DELETED")
    assert [count for _, count in experiment.ready] == [1, 2, 1]


def test_only_pods_that_came_with_the_load_are_new(experiment: Experiment) -> None:
    see(experiment, 0, pod("a"), "ADDED")
    say(experiment, event="start", at=at(0).isoformat())
    say(experiment, **sample(1, 10))
    see(experiment, 2, pod("b", ready=False), "ADDED")
    see(experiment, 4, pod("b"))
    see(experiment, 5, pod("a"))
    assert experiment.moments("PodScheduled") == [at(2)]
    assert experiment.moments("Ready") == [at(4)]


def test_the_story_begins_with_the_load_and_says_what_was_lost(experiment: Experiment) -> None:
    for name in "abc":
        see(experiment, 0, pod(name), "ADDED")
    say(experiment, event="start", at=at(2).isoformat())
    say(experiment, **sample(1, 10, sent=20, complete=10))
    say(experiment, **sample(2, 0, dropped=10))
    see(experiment, 4, pod("a", ready=False, ended=KILLED))
    story = experiment.story()
    assert story.ready == [(-2.0, 3), (2.0, 2)]
    words = alt_text(experiment.figure())
    assert "20 sent, 10 complete, 10 dropped" in words and "2 to 3 ready replicas" in words and "OOMKilled" in words


def test_the_result_overrules_the_samples(experiment: Experiment) -> None:
    say(experiment, **sample(1, 10, sent=20))
    assert experiment.report.total("sent") == 20
    say(experiment, event="result", sent=21, complete=21, dropped=0, rejected=0)
    assert experiment.report.total("sent") == 21


def test_lines_of_others_are_left_alone(experiment: Experiment) -> None:
    for line in ("", "Traceback", "[1]", '{"event": "other"}'):
        assert not experiment.report.take(line)


def test_the_breach_lies_within_its_second(experiment: Experiment) -> None:
    say(experiment, event="start", at=at(0).isoformat())
    say(experiment, **sample(1, 10))
    say(experiment, **sample(2, 20))
    assert _breach(experiment, Policy("p", "q", 15, 1, 10)) == at(1.5)


def test_parts_add_up_to_the_total() -> None:
    found = ScaleUp(at(0), at(2), at(3.5), at(3.6), at(9))
    assert found.parts() == {"scrape": 2.0, "hpa": 1.5, "schedule": 0.1, "load": 5.4}
    assert sum(found.parts().values()) == pytest.approx(found.total)


def test_each_event_is_looked_at_by_itself(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not with all the pods that are there."""
    looked: list[str] = []
    look = cluster.is_true

    def counted(item: dict[str, Any], kind: str) -> bool:
        looked.append(kind)
        return look(item, kind)

    monkeypatch.setattr(cluster, "is_true", counted)
    say(experiment, **sample(1, 10))
    for number in range(100):
        see(experiment, number, pod(f"pod-{number}"), "ADDED")
    assert experiment.ready[-1] == (at(99), 100)
    assert len(looked) <= 3 * 100


def test_a_disrupted_pod_is_noted_once(experiment: Experiment) -> None:
    say(experiment, **sample(1, 10))
    for seconds, name in ((1, "a"), (2, "b"), (3, "a")):
        item = pod(name)
        why = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
        item["status"]["conditions"].append(why)
        see(experiment, seconds, item)
    assert experiment.disrupted == [(at(1), "a", "EvictionByEvictionAPI"), (at(2), "b", "EvictionByEvictionAPI")]
