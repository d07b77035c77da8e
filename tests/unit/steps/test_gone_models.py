"""What is left of models, adapters and budgets that a registry has no more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from vllm_runbook import params
from vllm_runbook.cluster import Object, Ref, marked, ref_of
from vllm_runbook.errors import RunbookError
from vllm_runbook.notebook import Notebook
from vllm_runbook.params import Params
from vllm_runbook.steps import gone_models, multi_model, router, served_models

STEP = "13_multi_model"
TWO = """
  - {model: qwen3-8b, adapters: [{name: sql, repo: a/sql}, {name: support, repo: a/support}]}
  - {model: mistral-7b-instruct-v0.3}
"""
#: Without a model and an adapter, and the one that stays is cold now.
ONE = "\n  - {model: qwen3-8b, min_replicas: 0, adapters: [{name: support, repo: a/support}]}\n"


class Live:
    """A cluster that holds these objects, and notes what is deleted."""

    dry_run = False

    def __init__(self, items: list[Object]) -> None:
        self.items = [{**item, "metadata": {**item["metadata"], "uid": str(at)}} for at, item in enumerate(items)]

    def serves(self, kind: str) -> bool:
        return True

    def namespaced(self, kind: str) -> bool:
        return True

    def list(self, kind: str, namespace: str, *, labels: str, metadata_only: bool) -> list[Object]:
        wanted = dict(pair.split("=") for pair in labels.split(","))
        return [
            item
            for item in self.items
            if (item["kind"], item["metadata"].get("namespace")) == (kind, namespace)
            and wanted.items() <= item["metadata"].get("labels", {}).items()
        ]


class Book:
    """What it asks of a notebook."""

    step = STEP

    def __init__(self, loaded: Params, live: Live) -> None:
        self.params, self.cluster = loaded, live


def load(directory: Path, models: str) -> Params:
    file = directory / "mine.yaml"
    file.write_text(f"name: mine\nmodels:{models}")
    return params.load("sandbox", "tiny", {"registry": str(file)})


def applied(loaded: Params) -> list[Object]:
    parts = (served_models.weight_objects, served_models.server_objects, router.objects, served_models.scaled_objects)
    return [marked(item, STEP) for part in parts for item in part(loaded)]


def names(gone: gone_models.Gone) -> set[str]:
    return {f"{ref.kind} {ref.name}" for ref, _ in gone.targets}


@pytest.fixture
def live(tmp_path: Path) -> Live:
    return Live(applied(load(tmp_path, TWO)))


def find(loaded: Params, live: Live, **options: Any) -> gone_models.Gone:
    return gone_models.find(cast(Notebook, Book(loaded, live)), **options)


def test_with_the_same_registry_nothing_is_gone(tmp_path: Path, live: Live) -> None:
    assert find(load(tmp_path, TWO), live).targets == []


def test_all_of_a_model_an_adapters_job_and_a_cold_ones_budget(tmp_path: Path, live: Live) -> None:
    other = "model-mistral-7b-instruct-v0-3"
    gone = find(load(tmp_path, ONE), live)
    assert names(gone) == {
        f"Deployment {other}",
        f"Service {other}",
        f"ScaledObject {other}",
        f"PodDisruptionBudget {other}",
        "Job prefetch-mistral-7b-instruct-v0-3",
        "Job prefetch-adapter-sql",
        "PodDisruptionBudget model-qwen3-8b",
    }
    kinds = [ref.kind for ref, _ in gone.targets]  # deleted from the end: nothing wakes what is being removed
    assert kinds[-1] == "ScaledObject" and "PersistentVolumeClaim" not in kinds
    told = str(gone)
    assert told.count("remove_gone=True") == len(kinds) and f"Deployment llm-models/{other}" in told
    assert "remove_gone" not in str(find(load(tmp_path, ONE), live, remove=True))


def test_what_others_put_there_is_never_among_them(tmp_path: Path, live: Live) -> None:
    (theirs,) = (item for item in live.items if ref_of(item).name == "prefetch-adapter-sql")
    theirs["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "Helm", "runbook.vllm.dev/step": STEP}
    other = live.items[-1]
    other["metadata"]["labels"]["runbook.vllm.dev/step"] = "06_autoscaling"
    found = names(find(load(tmp_path, ONE), live))
    assert "Job prefetch-adapter-sql" not in found and f"{other['kind']} {other['metadata']['name']}" not in found
    assert found


def test_pods_of_servers_that_are_gone(tmp_path: Path, live: Live) -> None:
    gone = find(load(tmp_path, ONE), live)

    def pod(name: str, namespace: str = "llm-models") -> Object:
        return {"metadata": {"namespace": namespace, "labels": {"app.kubernetes.io/name": name}}}

    assert gone.serves(pod("model-mistral-7b-instruct-v0-3"))
    assert not gone.serves(pod("model-mistral-7b-instruct-v0-3", "other")) and not gone.serves(pod("model-qwen3-8b"))
    assert not gone.serves({"metadata": {"namespace": "llm-models"}})


class Walked(list[tuple[Ref, str]]):
    """A list that counts how often it is gone through."""

    times = 0

    def __iter__(self) -> Iterator[tuple[Ref, str]]:
        self.times += 1
        return super().__iter__()


def test_many_pods_go_through_what_is_gone_once() -> None:
    targets = Walked([(Ref("Deployment", f"model-{number}", "llm-models"), "") for number in range(10)])
    gone = gone_models.Gone(targets, remove=True)
    pods = [
        {"metadata": {"namespace": "llm-models", "labels": {"app.kubernetes.io/name": f"model-{number}"}}}
        for number in range(20)
    ]
    assert sum(map(gone.serves, pods)) == 10
    assert targets.times == 1


GPU = "nvidia.com/gpu"


class Full:
    """A cluster with one node, whose only GPU a server of a model that is gone has."""

    def __init__(self) -> None:
        labels = {"app.kubernetes.io/name": "model-mistral-7b-instruct-v0-3"}
        container = {"resources": {"limits": {GPU: "1"}}}
        self.pod = {
            "metadata": {"namespace": "llm-models", "labels": labels},
            "spec": {"nodeName": "gpu-0", "containers": [container]},
        }

    def require_nothing_pending(self, what: str) -> None: ...

    def find(self, ref: Ref) -> None: ...

    def list(self, kind: str, **selectors: str) -> list[Object]:
        node = {"metadata": {"name": "gpu-0"}, "status": {"capacity": {GPU: "1"}, "allocatable": {GPU: "1"}}}
        return [node] if kind == "Node" else [self.pod]


@pytest.mark.parametrize("remove", [False, True])
def test_their_gpus_are_free_once_they_are_to_be_removed(tmp_path: Path, live: Live, remove: bool) -> None:
    loaded = load(tmp_path, "\n  - {model: qwen3-8b}\n")
    gone = find(loaded, live, remove=remove)
    book = cast(Notebook, Book(loaded, cast(Live, Full())))
    found = served_models.servers(loaded)
    if remove:
        multi_model._require_free_gpus(book, found, gone)
    else:
        with pytest.raises(RunbookError, match=f"need 1 free {GPU}") as told:
            multi_model._require_free_gpus(book, found, gone)
        assert "Servers of models that are gone have some: remove_gone=True." in told.value.next_step
