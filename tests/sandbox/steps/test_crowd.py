"""Notebook 05's crowd: made, listed in every way, and removed without a trace."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conftest import Cluster
from vllm_runbook import doctor, tools
from vllm_runbook.cluster import TimedOut
from vllm_runbook.notebook import Notebook
from vllm_runbook.plots.nodes import gpu_usage
from vllm_runbook.steps import applying, crowd, gpu_nodes, list_ways, listing, teardown

from .conftest import Begin

STEP = "05_observability"
PODS = 50


@pytest.fixture
def book(begin: Begin) -> Iterator[Notebook]:
    """A notebook whose KWOK runs; whatever it makes is gone afterwards."""
    book = begin(STEP)
    book.apply(crowd.plan(book))
    crowd.wait_ready(book)
    yield book
    crowd.remove(book)


def crowds_pods(cluster: Cluster, *more: str) -> list[str]:
    found = cluster.kubectl("get", "pods", "-n", "crowd", "-l", "app.kubernetes.io/part-of=crowd", "-o", "name", *more)
    return found.split()


def test_a_crowd_is_made_once_and_fits_what_is_asked(
    cluster: Cluster, begin: Begin, book: Notebook, capsys: pytest.CaptureFixture[str]
) -> None:
    assert crowd.populate(book, 150) == 150
    assert len(crowds_pods(cluster, "--field-selector=status.phase=Running")) == 150
    assert len(crowds_pods(cluster, "-l", f"{crowd.SELECTOR},app.kubernetes.io/part-of=crowd")) == 2

    again = begin(STEP)
    again.apply(crowd.plan(again))
    crowd.populate(again, 150)
    assert (again.result.changed, again.result.unchanged) == (0, 7)
    assert "nothing to change" in capsys.readouterr().out

    crowd.populate(again, PODS)
    assert crowd.count(again) == (PODS, 1)
    nodes = cluster.get("nodes", "", "-l", "type=kwok")["items"]
    assert [node["metadata"]["name"] for node in nodes] == ["crowd-000"]

    crowd.remove(again)
    assert crowd.count(again) == (0, 0)
    assert cluster.kubectl("get", "namespace,clusterrole,clusterrolebinding", "-o", "name").count("crowd") == 0
    assert "kwok" not in cluster.kubectl("get", "clusterrole,clusterrolebinding", "-o", "name")


def test_a_crowd_of_servers_holds_gpus_and_has_some_that_crash(cluster: Cluster, begin: Begin, book: Notebook) -> None:
    crowd.populate(book, PODS, pods_per_node=10, servers=True)
    ready = [node for node in gpu_nodes.ready_nodes(book) if node["metadata"]["name"].startswith("crowd-")]
    assert [gpu_nodes.gpus(node, "nvidia.com/gpu") for node in ready] == [8] * (PODS // 10)
    usage = gpu_usage(ready, book.cluster.list("Pod", crowd.NAMESPACE), "nvidia.com/gpu")
    assert [(node.used, node.free) for node in usage] == [(5, 3)] * (PODS // 10)

    everywhere = begin(STEP, **{"namespace": crowd.NAMESPACE})
    found = doctor.diagnose(doctor.examine(book.cluster, doctor.context_of(everywhere.params)))
    (crash,) = [each for each in found.findings if each.code == "crash-loop"]
    assert crash.object == f"Pod {crowd.NAMESPACE}/crowd-00001"


def test_lists_are_measured(book: Notebook) -> None:
    crowd.populate(book, PODS)
    measured = listing.measure(book, PODS, times=1)
    assert measured.pods >= PODS + 1  # KWOK's own
    assert book.result.ok and len(book.result.checks) == 4
    figures = book.result.figures
    keys = "kubectl kubectl_selector kubectl_json typed json gzip paged cached table metadata metadata_cached selector"
    for key in keys.split():
        assert figures[f"list.pods_{PODS}.{key}_ms"] > 0
        assert figures[f"list.pods_{PODS}.{key}_bytes"] > 0

    def sent(key: str) -> int:
        return int(figures[f"list.pods_{PODS}.{key}_bytes"])

    assert sent("selector") < sent("table") < sent("metadata") < sent("json")
    assert max(sent("gzip"), sent("kubectl_json")) < sent("json") / 5  # kubectl asks for gzip
    assert measured.ways["kubectl_json"].packed and not measured.ways["json"].packed
    assert sent("kubectl_selector") < sent("metadata")
    told = measured.ways["server_side"]
    assert told.ms is None and "unknown flag: --server-side" in told.note and told.note in str(measured.table())


def test_pages_are_followed_to_the_end(book: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way sees the same pods, however many pages it takes."""
    monkeypatch.setattr(list_ways, "PAGE", 20)
    crowd.populate(book, PODS)
    listing.measure(book, PODS, times=1)
    assert book.result.ok
    assert book.result.figures[f"list.pods_{PODS}.paged_bytes"] > book.result.figures[f"list.pods_{PODS}.json_bytes"]


def test_the_same_objects_are_made_by_everyone(cluster: Cluster, book: Notebook) -> None:
    measured = applying.measure(book, count=5, times=1)
    missing = [key for key, way in measured.ways.items() if way.ms is None]
    assert missing == ([] if tools.find("helm") else ["helm"])
    assert book.result.ok and len(book.result.checks) == 1
    assert {f"apply.objects_5.{key}_ms" for key in measured.ways} - set(book.result.figures) == {
        f"apply.objects_5.{key}_ms" for key in missing
    }
    left = cluster.kubectl("-n", "crowd", "get", "configmaps,secrets", "-o", "name").split()
    assert left == ["configmap/kube-root-ca.crt", "configmap/kwok"]


def test_without_programs_the_rest_is_measured(book: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "find", lambda name: None)
    ways = listing.measure(book, 0, times=1).ways
    assert ways["kubectl"].note == "kubectl isn't installed" and ways["json"].ms
    made = applying.measure(book, count=2, times=1).ways
    assert [key for key, way in made.items() if way.ms] == ["library"]
    names = [check.name for check in book.result.checks]
    assert book.result.ok and not any("kubectl" in name or "helm" in name for name in names)


def test_a_platform_that_does_not_allow_it_gets_no_crowd(cluster: Cluster, begin: Begin) -> None:
    book = begin(STEP, **{"rehearsal.crowd": False})
    assert not crowd.plan(book)
    crowd.wait_ready(book)
    assert crowd.populate(book, PODS) == 0
    assert applying.measure(book).ways == {}
    found = listing.measure(book, 0, times=1)
    assert book.result.figures["list.pods_found.pods"] == found.pods == len(cluster.get("pods", "", "-A")["items"])
    assert "crowd" not in cluster.kubectl("get", "namespaces", "-o", "name")


def test_a_controller_that_does_not_come_up_is_explained(begin: Begin) -> None:
    book = begin(STEP, **{"images.mirror": "mirror.example.com"})
    book.apply(crowd.plan(book))
    try:
        with pytest.raises(TimedOut, match="Deployment crowd/kwok-controller runs") as raised:
            crowd.wait_ready(book, seconds=3)
        assert "mirror.example.com/kwok/kwok" in raised.value.why
    finally:
        crowd.remove(book)


def test_teardown_removes_the_crowd(begin: Begin, book: Notebook) -> None:
    crowd.populate(book, PODS)
    down = begin("10_teardown")
    scope = teardown.plan(down)
    assert "50 pods and 1 nodes of the crowd" in str(scope)
    teardown.remove(down, scope)
    teardown.verify(down, scope)
    assert down.result.ok and crowd.count(down) == (0, 0)
