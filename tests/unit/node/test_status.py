"""Phase and conditions, as the kubelet computes them."""

import pytest

from vllm_sandbox.node.status import conditions, phase

RUNNING = {"state": {"running": {}}}
WAITING = {"state": {"waiting": {"reason": "ContainerCreating"}}}


def ended(code, **more):
    return {"name": "c", "state": {"terminated": {"exitCode": code}}, **more}


def crash_loop(code):
    return {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": code}}}


@pytest.mark.parametrize(
    ("policy", "containers", "expected"),
    [
        ("Always", [WAITING], "Pending"),
        ("Always", [RUNNING, WAITING], "Running"),
        ("Always", [ended(0)], "Running"),
        ("Always", [crash_loop(1)], "Running"),
        ("OnFailure", [ended(0), ended(0)], "Succeeded"),
        ("OnFailure", [crash_loop(1)], "Running"),
        ("Never", [ended(0)], "Succeeded"),
        ("Never", [ended(0), ended(1)], "Failed"),
        ("Never", [ended(1), RUNNING], "Running"),
    ],
)
def test_phase(policy, containers, expected):
    assert phase({"restartPolicy": policy}, [], containers) == expected


@pytest.mark.parametrize(
    ("policy", "init", "expected"),
    [
        ("Always", [], "Pending"),
        ("Always", [{"name": "i", **crash_loop(1)}], "Pending"),
        ("Never", [{"name": "i", **ended(1)} | {"name": "i"}], "Failed"),
        ("Never", [ended(0) | {"name": "i"}], "Running"),
    ],
)
def test_init_containers_come_first(policy, init, expected):
    spec = {"restartPolicy": policy, "initContainers": [{"name": "i"}]}
    assert phase(spec, init, [RUNNING if expected == "Running" else WAITING]) == expected


def test_a_sidecar_that_has_ended_after_the_others_is_not_waited_for():
    spec = {"restartPolicy": "Never", "initContainers": [{"name": "s", "restartPolicy": "Always"}]}
    side = {"name": "s", "started": False, "state": {"terminated": {"exitCode": 143}}}
    assert phase(spec, [side], [ended(0)]) == "Succeeded" and phase(spec, [side], [RUNNING]) == "Running"
    found = by_type(conditions(spec, "Succeeded", [side], [ended(0)], [], mounted=True))
    assert found["Initialized"]["status"] == "True"


def test_a_sidecar_counts_when_it_has_started():
    spec = {"initContainers": [{"name": "s", "restartPolicy": "Always"}]}
    assert phase(spec, [{"name": "s", "started": False, **RUNNING}], [WAITING]) == "Pending"
    assert phase(spec, [{"name": "s", "started": True, **RUNNING}], [RUNNING]) == "Running"


def by_type(found):
    return {c["type"]: c for c in found}


def test_ready_follows_the_containers_and_keeps_its_time():
    unready = [{"name": "c", "ready": False, **RUNNING}]
    first = by_type(conditions({}, "Running", [], unready, [], mounted=True))
    assert first["Ready"]["status"] == "False"
    assert first["Ready"]["message"] == "containers with unready status: [c]"
    old = [{**c, "lastTransitionTime": "2020-01-01T00:00:00Z"} for c in first.values()]
    second = by_type(conditions({}, "Running", [], [{"name": "c", "ready": True}], old, mounted=True))
    assert second["Ready"]["status"] == second["ContainersReady"]["status"] == "True"
    assert second["Ready"]["lastTransitionTime"] != "2020-01-01T00:00:00Z"
    assert second["Initialized"]["lastTransitionTime"] == "2020-01-01T00:00:00Z"


def test_a_readiness_gate_holds_a_pod_back():
    spec = {"readinessGates": [{"conditionType": "example.com/ready"}]}
    ready = [{"name": "c", "ready": True}]
    closed = by_type(conditions(spec, "Running", [], ready, [], mounted=True))
    assert (closed["Ready"]["status"], closed["Ready"]["reason"]) == ("False", "ReadinessGatesNotReady")
    gate = {"type": "example.com/ready", "status": "True"}
    assert by_type(conditions(spec, "Running", [], ready, [gate], mounted=True))["Ready"]["status"] == "True"


def test_a_completed_pod_is_not_ready_and_says_why():
    found = by_type(conditions({}, "Succeeded", [], [ended(0)], [], mounted=True))
    assert (found["Ready"]["status"], found["Ready"]["reason"]) == ("False", "PodCompleted")
