"""What several drills are made of: the server's Deployment with something changed, a restart, pods that hold GPUs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from .. import cluster as k8s
from ..cluster import Object, Ref
from ..manifests import manifest, mirrored
from ..notebook import Notebook
from ..plots import gpu_usage
from ..steps import deploy, gpu_nodes
from .drill import Act, Change, Create

POD = "spec.template.spec"
CONTAINER = f"{POD}.containers[0]"
#: Label of the pods that take the GPUs away.
BATCH = "app.kubernetes.io/name=batch"


def server(book: Notebook) -> Ref:
    """The server's Deployment."""
    return Ref("Deployment", deploy.DEPLOYMENT, book.namespace)


def changed_server(book: Notebook, fields: dict[str, Any]) -> list[Act]:
    """A new version of the server with some fields set."""
    return [Change(server(book), fields)]


def more_arguments(book: Notebook, *arguments: str) -> list[Act]:
    """A new version of the server with further arguments; those of the same names are replaced."""
    names = {argument.split("=")[0] for argument in arguments}
    now = k8s.get_in(book.cluster.get(server(book)), f"{CONTAINER}.args")
    kept = [argument for argument in now if argument.split("=")[0] not in names]
    return changed_server(book, {f"{CONTAINER}.args": [*kept, *arguments]})


def restarted(book: Notebook) -> list[Act]:
    """As ``kubectl rollout restart``: new pods of the same version."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    at = "spec.template.metadata.annotations[kubectl.kubernetes.io/restartedAt]"
    return changed_server(book, {at: now})


def labelled_nodes(book: Notebook) -> list[str]:
    """Names of the nodes that servers go to."""
    return [node["metadata"]["name"] for node in gpu_nodes.ready_nodes(book)]


def server_node(book: Notebook) -> str:
    """The node of the server's first pod."""
    pods = book.cluster.list("Pod", book.namespace, labels=deploy.PODS, fields="status.phase=Running")
    found = [pod["spec"]["nodeName"] for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    return str(min(found))


def batch_pods(book: Notebook, priority: str = "") -> list[Act]:
    """A pod on each GPU node that holds what is free there; with a priority, everything there is."""
    platform = book.params.platform
    pods = book.cluster.list("Pod", fields="status.phase!=Succeeded,status.phase!=Failed")
    staying = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    acts: list[Act] = []
    usage = gpu_usage(gpu_nodes.ready_nodes(book), staying, platform.gpu.resource)
    for node in sorted(usage, key=lambda node: node.used):
        count = node.allocatable if priority else node.free
        if not count:
            continue
        fields: dict[str, Any] = {
            "metadata.name": f"batch-{node.node}",
            "spec.nodeSelector": {"kubernetes.io/hostname": node.node},
            "spec.tolerations": gpu_nodes.tolerations(platform),
            "spec.priorityClassName": priority or deploy.PRIORITY,  # with less the server would throw them out
            "spec.containers[0].resources.limits[nvidia.com/gpu]": None,
            f"spec.containers[0].resources.limits[{platform.gpu.resource}]": str(count),
        }
        acts.append(Create(sleeper(book, fields)))
    return acts


def sleeper(book: Notebook, fields: dict[str, Any]) -> Object:
    """A pod that does nothing but be there."""
    return mirrored(manifest("drills/sleeper.yaml", book.namespace, fields), book.params.platform)
