"""Notebooks' steps in a namespace of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from conftest import Cluster
from vllm_runbook import notebook
from vllm_runbook.notebook import Notebook
from vllm_runbook.steps import device_plugin, gpu_nodes, weights

Begin = Callable[..., Notebook]


@pytest.fixture
def begin(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Begin:
    """``begin("03_storage_weights", model="tiny", **{"storage.class": …})`` on the tests' sandbox."""
    monkeypatch.delenv("HF_TOKEN", raising=False)

    def begin_in(step: str, model: str = "tiny", **overrides: Any) -> Notebook:
        return notebook.begin(step, "sandbox", model, {"namespace": cluster.namespace, **overrides})

    return begin_in


@pytest.fixture
def gpus(begin: Begin) -> None:
    """GPU nodes that advertise and are labelled."""
    book = begin("01_device_plugin")
    book.apply(device_plugin.plan(book))
    device_plugin.verify(book, device_plugin.NodesSeen(book))
    book = begin("02_label_gpu_nodes")
    book.apply(gpu_nodes.plan_labels(book))


def fill(book: Notebook) -> weights.Follower:
    """Notebook 03."""
    book.apply(weights.plan_namespace(book))
    book.apply(weights.plan(book))
    follower = weights.Follower()
    weights.wait_filled(book, follower)
    book.apply(weights.plan_copy(book))
    weights.wait_copied(book)
    weights.note_revision(book)
    return follower
