"""A served model with its autoscaler: what every drill begins with. Made once for all of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from conftest import Cluster
from vllm_runbook import drills, notebook
from vllm_runbook.notebook import Notebook
from vllm_runbook.plots import PodTimeline
from vllm_runbook.steps import autoscaling, deploy, device_plugin, gpu_nodes, keda, observability, weights
from vllm_sandbox import binaries

MODEL = "tiny"


def begin(step: str) -> Notebook:
    return notebook.begin(step, "sandbox", MODEL, {})


@pytest.fixture(scope="module")
def served(sandbox: Cluster) -> Notebook:
    """Notebooks 01 to 05, without their experiments, and KEDA: it gets going while other drills are done."""
    book = begin("01_device_plugin")
    book.apply(device_plugin.plan(book))
    device_plugin.verify(book, device_plugin.NodesSeen(book))
    book = begin("02_label_gpu_nodes")
    book.apply(gpu_nodes.plan_labels(book))
    book = begin("03_storage_weights")
    book.apply(weights.plan_namespace(book))
    book.apply(weights.plan(book))
    weights.wait_filled(book, weights.Follower())
    book = begin("04_deploy_vllm")
    book.apply(deploy.plan(book))
    book = begin("05_observability")
    book.apply(observability.plan(book))
    deploy.wait_available(book, PodTimeline())
    observability.wait_available(book)
    observability.verify(book)
    book = begin("06_autoscaling")
    keda.install(book, keda.plan(book))
    return begin("20_onboarding")


@pytest.fixture(scope="module")
def autoscaled(served: Notebook) -> None:
    """The rest of notebook 06."""
    book = begin("06_autoscaling")
    book.apply(autoscaling.plan(book))
    autoscaling.wait_ready(book)


@pytest.fixture
def book(served: Notebook) -> Iterator[Notebook]:
    """The same, and healthy again afterwards."""
    yield served
    drills.reset(served)


@pytest.fixture(scope="module")
def shell(sandbox: Cluster) -> Mapping[str, str]:
    """A trainee's environment: kubectl and runbook on PATH, and what they have to know."""
    programs = [Path(sys.executable).parent, binaries.ensure("kubectl")["kubectl"].parent]
    return {
        **os.environ,
        "PATH": os.pathsep.join([*map(str, programs), os.environ["PATH"]]),
        "KUBECONFIG": str(sandbox.kubeconfig),
        "HF_TOKEN": "hf_sandbox_reader",
        "REGISTRY_USER": "robot",
        "REGISTRY_PASSWORD": "sandbox-pull",
    }
