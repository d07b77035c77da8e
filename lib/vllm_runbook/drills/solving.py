"""The written solutions: shell commands with this cluster's names in them."""

from __future__ import annotations

import shlex

from .. import cluster as k8s
from ..errors import RunbookError
from ..notebook import Notebook
from ..steps import deploy, gpu_nodes
from .drill import Drill


def fields(book: Notebook) -> dict[str, str]:
    """What stands in braces in hints and solutions."""
    platform, label = book.params.platform, book.params.platform.gpu.node_label
    names = [
        node["metadata"]["name"] for node in book.cluster.list("Node") if gpu_nodes.has_gpu(node, platform.gpu.resource)
    ]
    return {
        "ns": book.namespace,
        "platform": platform.name,
        "server": deploy.DEPLOYMENT,
        "model": book.params.model.name,
        "resource": platform.gpu.resource,
        "label": f"{label.key}={label.value}",
        "gpu_nodes": " ".join(names),
        "memory": f"{book.sizing.host.memory_gib}Gi",
        "probe_failures": str(book.sizing.startup.failure_threshold * book.sizing.startup.period_seconds),
        "image": platform.image(platform.images.vllm),
        "registry": str(platform.rehearsal.private_registry).split("/")[0],
        "hub": platform.hub.endpoint,
        "keda": platform.autoscaling.namespace,
        "stop_kubelet": str(platform.rehearsal.stop_kubelet_annotation),
    }


def commands(book: Notebook, drill: Drill) -> list[str]:
    """The solution's commands, ready for a shell. Secrets are taken from the environment, as in ``$HF_TOKEN``."""
    found = fields(book)
    return [command.format(**found) for command in drill.solution]


def apply(book: Notebook, drill: Drill) -> None:
    """Run a solution that consists of kubectl alone, and print its commands.

    Raises:
        RunbookError: there is no kubectl, or a command fails.
    """
    kubectl = k8s.program(book.cluster, "kubectl")
    if kubectl is None:
        raise RunbookError("There is no kubectl to solve it with", next_step="Put kubectl on PATH.")
    for command in commands(book, drill):
        print(f"$ {command}")
        program, *words = shlex.split(command)
        if program != "kubectl" or "|" in words:
            raise RunbookError(f"The solution of {drill.name} needs a shell", why=command)
        done = kubectl.run(*words)
        print(done.stdout, end="")
        if done.returncode:
            raise RunbookError(f"The solution of {drill.name} failed", why=done.stderr.strip())
