"""When a probe's thresholds are crossed."""

import asyncio

import pytest

from vllm_sandbox.node.probes import Probe, observe


def probe(**spec):
    fast = {"periodSeconds": 0.001, "httpGet": {}}
    found = Probe.of({"readinessProbe": {**fast, **spec}}, "readiness")
    assert found
    return found


async def changes(results, spec, *, initial):
    """The changes that a sequence of probe results leads to; stops when it is used up."""
    queue = iter(results)
    seen = []

    async def check():
        try:
            return next(queue), "why"
        except StopIteration:
            raise asyncio.CancelledError from None

    async def changed(ok, why):
        seen.append(ok)
        return True

    failures = []
    with pytest.raises(asyncio.CancelledError):
        await observe(spec, check, failures.append, changed, initial=initial)
    assert len(failures) == list(results).count(False)
    return seen


async def test_one_failure_below_the_threshold_changes_nothing():
    spec = probe(failureThreshold=3)
    assert await changes([True, False, False, True, False, False, False], spec, initial=False) == [True, False]


async def test_success_threshold():
    assert await changes([True, False, True, True], probe(successThreshold=2), initial=False) == [True]


async def test_without_an_assumption_the_first_result_counts():
    assert await changes([True], probe(), initial=None) == [True]
    assert await changes([False] * 3, probe(failureThreshold=3), initial=None) == [False]


def test_defaults_are_the_kubelets():
    spec = Probe.of({"livenessProbe": {"tcpSocket": {"port": 1}}}, "liveness")
    assert spec
    assert (spec.period_s, spec.timeout_s, spec.success_threshold, spec.failure_threshold) == (10, 1, 1, 3)
    assert Probe.of({}, "liveness") is None
