"""The device plugin: the program on every node that tells the kubelet about its GPUs."""

from __future__ import annotations

import plotly.graph_objects as go

from .. import cluster as k8s
from ..charts import Chart, render
from ..cluster import Object, Plan, Ref, Selection, State
from ..cluster import explain as explaining
from ..errors import RunbookError
from ..manifests import manifest, mirrored
from ..notebook import Notebook
from ..params import Platform
from ..plots import Recorder, nodes_figure
from .gpu_nodes import gpus, has_gpu, tolerations

NAME = "nvidia-device-plugin"
LABEL = f"app.kubernetes.io/name={NAME}"


def installed_elsewhere(cluster: k8s.Cluster) -> list[str]:
    """Device plugins that this runbook did not install, as namespace/name."""
    return [
        f"{item['metadata']['namespace']}/{item['metadata']['name']}"
        for item in cluster.list("DaemonSet")
        if not k8s.is_ours(item)
        and any("k8s-device-plugin" in image or "nvidia-gpu-device-plugin" in image for image in _images(item))
    ]


def _images(daemonset: Object) -> list[str]:
    return [container["image"] for container in daemonset["spec"]["template"]["spec"]["containers"]]


def plan(book: Notebook) -> Plan:
    """What has to be installed: nothing when the platform manages it, else our manifest or the vendor's chart.

    Raises:
        RunbookError: another plugin is there already, and two of them fight over the same socket.
    """
    settings = book.params.platform.device_plugin
    if settings.mode == "managed":
        return book.plan([])
    others = installed_elsewhere(book.cluster)
    if others:
        raise RunbookError(
            "A device plugin is installed already",
            why=", ".join(others),
            next_step="Use it: -p device_plugin.mode=managed. Two plugins on a node advertise the same GPUs twice.",
        )
    return book.plan(objects(book.params.platform))


def objects(platform: Platform) -> list[Object]:
    """The plugin's objects; none where the platform brings it.

    Raises:
        RunbookError: they are to come from the chart, and there is no helm or it can't render it.
    """
    mode = platform.device_plugin.mode
    if mode == "managed":
        return []
    return _from_chart(platform) if mode == "helm" else [_from_manifest(platform)]


def _from_manifest(platform: Platform) -> Object:
    settings = platform.device_plugin
    pod = "spec.template.spec"
    fields: dict[str, object] = {f"{pod}.containers[0].image": platform.image(settings.image)}
    fields[f"{pod}.tolerations"] = tolerations(platform, spot=True)  # GPUs of spot nodes are to be advertised, too
    if settings.runtime_class:
        fields[f"{pod}.runtimeClassName"] = settings.runtime_class
    if settings.node_selector:
        fields[f"{pod}.nodeSelector"] = settings.node_selector
    return manifest("device-plugin.yaml", settings.namespace, fields)


def _from_chart(platform: Platform) -> list[Object]:
    """The chart, rendered by helm and applied by us: previewed and undone like everything else."""
    settings = platform.device_plugin
    values: dict[str, object] = {"tolerations": tolerations(platform, spot=True)}
    if settings.runtime_class:
        values["runtimeClassName"] = settings.runtime_class
    if settings.node_selector:
        values["nodeSelector"] = settings.node_selector
    chart = Chart(settings.repo, settings.chart.rpartition("/")[2], settings.version, NAME, settings.namespace)
    return [mirrored(item, platform) for item in render(chart, values, instead="device_plugin.mode=manifest")]


class NodesSeen(Recorder):
    """Nodes as a watch brings them; draws GPUs per node, and which of them pods hold already."""

    def __init__(self, book: Notebook) -> None:
        super().__init__()
        self.nodes: dict[str, Object] = {}
        self._resource = book.params.platform.gpu.resource
        self._pods = list(book.cluster.list("Pod", fields="status.phase!=Succeeded,status.phase!=Failed"))

    def take(self, event: k8s.Seen, _events: object = None) -> None:
        if event.object.get("kind") == "Node":
            self.nodes[event.object["metadata"]["name"]] = event.object
            self.changed()

    def figure(self) -> go.Figure:
        """GPUs per node."""
        return nodes_figure(self.nodes.values(), self._pods, self._resource)


def verify(book: Notebook, seen: NodesSeen, *, seconds: float = 180) -> None:
    """Watch until every node with a GPU advertises it, and note the checks.

    Raises:
        TimedOut: naming the nodes that don't advertise, and why.
    """
    resource = book.params.platform.gpu.resource

    def missing(state: State) -> list[Object]:
        return [node for node in state.all("Node") if has_gpu(node, resource) and not gpus(node, resource)]

    def reached(state: State) -> bool:
        return any(gpus(node, resource) for node in state.all("Node")) and not missing(state)

    def explain(state: State) -> str:
        silent = missing(state)
        if not silent:
            return "no node looks like a GPU node: no label says so and none advertises a GPU"
        return "\n".join(f"{node['metadata']['name']}: {_why_silent(book, node)}" for node in silent)

    state = k8s.wait(
        book.cluster,
        f"Every GPU node advertises {resource}",
        [Selection("Node")],
        reached,
        seconds=seconds,
        on_event=seen.take,
        explain=explain,
        next_step="Mend those nodes (driver, container toolkit, taints), then run this notebook again.",
    )
    with_gpus = [node for node in state.all("Node") if has_gpu(node, resource)]
    same = all(gpus(node, resource) == gpus(node, resource, "capacity") for node in with_gpus)
    book.check(f"every node with a GPU advertises {resource}", True)
    book.check("allocatable equals capacity on each of them (no GPU is marked unhealthy)", same)
    book.figure("gpu_nodes", len(with_gpus))
    book.figure("gpus", sum(gpus(node, resource) for node in with_gpus))


def _why_silent(book: Notebook, node: Object) -> str:
    """Why a node with a GPU doesn't advertise it: no plugin pod there, or what that pod says."""
    name, namespace = node["metadata"]["name"], book.params.platform.device_plugin.namespace
    fields = f"spec.nodeName={name}"
    pods = [
        pod
        for pod in book.cluster.list("Pod", namespace, fields=fields)
        if any("device-plugin" in container["image"] for container in pod["spec"]["containers"])
    ]
    if not pods:
        taints = ", ".join(f"{taint['key']}:{taint['effect']}" for taint in node["spec"].get("taints", ())) or "none"
        return f"no device plugin pod runs there (taints: {taints}; add tolerations with gpu.tolerations)"
    trouble = explaining.trouble(pods[0])
    if trouble:
        return trouble
    lines = explaining.last_lines(book.cluster, Ref("Pod", pods[0]["metadata"]["name"], namespace), count=3)
    return "its plugin says: " + (" / ".join(lines) or "nothing")
