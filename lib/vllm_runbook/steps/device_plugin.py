"""The device plugin: the program on every node that tells the kubelet about its GPUs."""

from __future__ import annotations

from collections.abc import Iterable

import plotly.graph_objects as go

from .. import cluster as k8s
from ..charts import Chart, render
from ..cluster import Object, Plan, Seen, Selection, State
from ..cluster import explain as explaining
from ..cluster.stream import Events
from ..errors import RunbookError
from ..manifests import manifest, mirrored
from ..notebook import Notebook
from ..params import Platform
from ..plots import Recorder, nodes_figure
from ..plots.nodes import holder, pod_gpus
from .gpu_nodes import gpus, has_gpu, tolerations

NAME = "nvidia-device-plugin"
LABEL = f"app.kubernetes.io/name={NAME}"
#: Nodes that an error tells about, each with the reason; of the others it says how many they are.
_TOLD = 10


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
        pods = book.cluster.list("Pod", fields="status.phase!=Succeeded,status.phase!=Failed")
        self._pods = [holder(pod, self._resource) for pod in pods if pod_gpus(pod, self._resource)]

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
    advertising: set[str] = set()
    silent: dict[str, Object] = {}

    def take(event: Seen, _events: Events) -> None:
        seen.take(event)
        node, uid = event.object, event.object["metadata"]["uid"]
        advertising.discard(uid)
        silent.pop(uid, None)
        if event.type == "DELETED":
            return
        if gpus(node, resource):
            advertising.add(uid)
        elif has_gpu(node, resource):
            silent[uid] = node

    def explain(_state: State) -> str:
        if not silent:
            return "no node looks like a GPU node: no label says so and none advertises a GPU"
        return _why_silent(book, silent.values())

    state = k8s.wait(
        book.cluster,
        f"Every GPU node advertises {resource}",
        [Selection("Node")],
        lambda _: bool(advertising) and not silent,
        seconds=seconds,
        on_event=take,
        explain=explain,
        next_step="Mend those nodes (driver, container toolkit, taints), then run this notebook again.",
    )
    with_gpus = [node for node in state.all("Node") if has_gpu(node, resource)]
    same = all(gpus(node, resource) == gpus(node, resource, "capacity") for node in with_gpus)
    book.check(f"every node with a GPU advertises {resource}", True)
    book.check("allocatable equals capacity on each of them (no GPU is marked unhealthy)", same)
    book.figure("gpu_nodes", len(with_gpus))
    book.figure("gpus", sum(gpus(node, resource) for node in with_gpus))


def _why_silent(book: Notebook, nodes: Iterable[Object]) -> str:
    """Why nodes with a GPU don't advertise it, a line for each of the first."""
    named = {str(node["metadata"]["name"]): node for node in nodes}
    told = sorted(named)[:_TOLD]
    plugins: dict[str, Object] = {}
    for pod in book.cluster.list("Pod", book.params.platform.device_plugin.namespace):
        node = pod["spec"].get("nodeName")
        if node in told and any("device-plugin" in container["image"] for container in pod["spec"]["containers"]):
            plugins.setdefault(node, pod)
    lines = [f"{name}: {_says(book, named[name], plugins.get(name))}" for name in told]
    if len(named) > len(told):
        lines.append(f"and {len(named) - len(told):,} more nodes")
    return "\n".join(lines)


def _says(book: Notebook, node: Object, plugin: Object | None) -> str:
    """The trouble of a node's plugin pod, or what it says; or which taints keep one away."""
    if plugin is None:
        taints = ", ".join(f"{taint['key']}:{taint['effect']}" for taint in node["spec"].get("taints", ())) or "none"
        return f"no device plugin pod runs there (taints: {taints}; add tolerations with gpu.tolerations)"
    if trouble := explaining.trouble(plugin):
        return trouble
    lines = explaining.last_lines(book.cluster, k8s.ref_of(plugin), count=3)
    return "its plugin says: " + (" / ".join(lines) or "nothing")
