"""Two at once: the Lease on the real API server, by the library and by the command line."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import Cluster
from vllm_runbook import cluster as k8s
from vllm_runbook import params
from vllm_runbook.cluster.lease import NAME, Held, Lease, await_free, holder_of

from .conftest import ROOT, runbook

STEP = "02_label_gpu_nodes"
Take = Callable[..., Lease]


@pytest.fixture
def connection(cluster: Cluster) -> k8s.Cluster:
    return k8s.connect(params.load("sandbox", "tiny", {"namespace": cluster.namespace}).platform)


@pytest.fixture
def lost() -> list[str]:
    """Why Leases of this test could not be kept."""
    return []


@pytest.fixture
def take(cluster: Cluster, connection: k8s.Cluster, lost: list[str]) -> Iterator[Take]:
    """``take("me", seconds=3)``: a Lease that isn't acquired yet."""
    made = []

    def make(holder: str, seconds: float = 30) -> Lease:
        made.append(Lease(connection, cluster.namespace, holder, STEP, lost=lost.append, seconds=seconds))
        return made[-1]

    yield make
    for lease in made:
        lease.release()


def test_one_holder_at_a_time_and_nothing_is_left(cluster: Cluster, connection: k8s.Cluster, take: Take) -> None:
    first, second = take("first"), take("second")
    assert first.acquire() == ""
    with pytest.raises(Held, match="first is at work") as raised:
        second.acquire()
    assert raised.value.holder == "first" and "--wait" in raised.value.next_step
    spec = cluster.get("lease", NAME)["spec"]
    assert spec["holderIdentity"] == "first" and spec["leaseDurationSeconds"] == 30
    first.release()
    assert holder_of(connection, cluster.namespace) is None
    assert "NotFound" in cluster.kubectl("get", "lease", NAME, ok=False)
    assert second.acquire() == ""


def test_who_waits_gets_it_when_it_is_given_back(connection: k8s.Cluster, cluster: Cluster, take: Take) -> None:
    first, second = take("first"), take("second")
    first.acquire()
    threading.Timer(1, first.release).start()
    assert second.acquire(60) == ""
    with pytest.raises(Held, match="second is at work"):
        await_free(connection, cluster.namespace, 0.5)


def test_of_many_at_once_one_gets_it(take: Take) -> None:
    leases = [take(f"number-{number}") for number in range(6)]
    got, barrier = [], threading.Barrier(len(leases))

    def race(lease: Lease) -> None:
        barrier.wait()
        try:
            lease.acquire()
            got.append(lease.holder)
        except Held:
            pass

    threads = [threading.Thread(target=race, args=(lease,)) for lease in leases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1


def test_it_is_renewed_while_it_is_held(cluster: Cluster, take: Take) -> None:
    take("me", seconds=6).acquire()
    before = cluster.get("lease", NAME)["spec"]
    with pytest.raises(Held):  # longer than it lasts without renewal
        take("other").acquire(8)
    after = cluster.get("lease", NAME)["spec"]
    assert after["renewTime"] > before["renewTime"] and after["acquireTime"] == before["acquireTime"]


def test_who_was_killed_lets_it_expire(cluster: Cluster, take: Take) -> None:
    dead = take("dead", seconds=3)
    dead.acquire()
    dead._stop.set()  # as a killed process: nobody renews, nobody gives it back
    assert take("heir").acquire(60) == "dead"
    assert cluster.get("lease", NAME)["spec"]["leaseTransitions"] == 1


def test_who_loses_it_is_told(cluster: Cluster, take: Take, lost: list[str]) -> None:
    mine = take("me", seconds=3)
    mine.acquire()
    thief = '{"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 60}}'
    cluster.kubectl("patch", "lease", NAME, "--type=merge", "-p", thief)
    assert mine._thread is not None
    mine._thread.join(30)
    assert lost == [f"Lease {cluster.namespace}/{NAME} was taken over by thief"]
    mine.release()
    assert cluster.get("lease", NAME)["spec"]["holderIdentity"] == "thief", "another's is left alone"


def command(cluster: Cluster, runs: Path, *arguments: str) -> list[str]:
    return ["run", "02", "--model", "tiny", "-p", f"namespace={cluster.namespace}", "--runs-dir", str(runs), *arguments]


def test_a_run_says_who_is_at_work_and_may_wait(cluster: Cluster, take: Take, tmp_path: Path) -> None:
    somebody = take("somebody-else")
    somebody.acquire()
    refused = runbook(*command(cluster, tmp_path))
    assert refused.returncode == 3, refused.stdout + refused.stderr
    assert "somebody-else is at work on sandbox-default" in refused.stderr and "--wait SECONDS" in refused.stderr
    looking = runbook("verify", "-p", f"namespace={cluster.namespace}", "--runs-dir", str(tmp_path / "verify"))
    assert looking.returncode == 3 and "somebody-else is at work" in looking.stderr

    process = subprocess.Popen(
        [sys.executable, "-m", "runbook_cli.main", *command(cluster, tmp_path, "--wait", "120")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    threading.Timer(3, somebody.release).start()
    out, _ = process.communicate(timeout=180)
    assert "somebody-else is at work" not in out
    assert "notebooks" in out.splitlines()[-1] or "02_label_gpu_nodes" in out
    assert "NotFound" in cluster.kubectl("get", "lease", NAME, ok=False)


def test_a_person_in_lab_is_told_too(cluster: Cluster, take: Take) -> None:
    from vllm_runbook.notebook import begin

    take("the-nightly-run").acquire()
    with pytest.raises(Held, match="the-nightly-run is at work"):
        begin(STEP, "sandbox", "tiny", {"namespace": cluster.namespace})
    begin("00_preflight", "sandbox", "tiny", {"namespace": cluster.namespace})  # who only looks may
