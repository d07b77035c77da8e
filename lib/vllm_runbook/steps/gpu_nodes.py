"""GPU nodes: which nodes have GPUs, which advertise them, and the label that servers are scheduled by."""

from __future__ import annotations

from collections.abc import Iterable

from ..cluster import MANAGER, Object, Plan, Ref, changed, get_in, managers, release
from ..errors import RunbookError
from ..notebook import Notebook
from ..params import Platform
from ..params.platform import Gpu
from ..tables import Table

INSTANCE_TYPE, ZONE = "node.kubernetes.io/instance-type", "topology.kubernetes.io/zone"
#: Labels that say "there is a GPU in this machine", by who sets them.
SIGNS = (
    "feature.node.kubernetes.io/pci-10de.present",  # Node Feature Discovery: PCI vendor NVIDIA
    "feature.node.kubernetes.io/pci-0302_10de.present",
    "feature.node.kubernetes.io/pci-0300_10de.present",
    "nvidia.com/gpu.present",  # GPU Feature Discovery
    "nvidia.com/gpu.product",
    "cloud.google.com/gke-accelerator",  # GKE
    "k8s.amazonaws.com/accelerator",  # EKS, by habit
    "karpenter.k8s.aws/instance-gpu-count",  # Karpenter on AWS
    "kubernetes.azure.com/accelerator",  # AKS
)


def gpus(node: Object, resource: str, which: str = "allocatable") -> int:
    """GPUs of a node: ``allocatable`` (for the scheduler) or ``capacity`` (advertised)."""
    return int(get_in(node, f"status.{which}[{resource}]", 0))


def has_gpu(node: Object, resource: str) -> bool:
    """Whether a node has a GPU, advertised or by a label that says so."""
    labels = node["metadata"].get("labels", {})
    return gpus(node, resource, "capacity") > 0 or any(labels.get(sign, "false") != "false" for sign in SIGNS)


def labelled(node: Object, key: str, value: str) -> bool:
    return bool(node["metadata"].get("labels", {}).get(key) == value)


def required(gpu: Gpu) -> list[Object]:
    """What a node must carry for servers to go there: the label, and a type and zone of those that are given."""
    asked = {
        gpu.node_label.key: [gpu.node_label.value],
        INSTANCE_TYPE: gpu.instance_types,
        ZONE: gpu.zones,
    }
    return [{"key": key, "operator": "In", "values": values} for key, values in asked.items() if values]


def affinity(platform: Platform) -> Object:
    """Node affinity of pods that belong on GPU nodes, on demand rather than spot: the one stays when the other goes."""
    terms = {"nodeSelectorTerms": [{"matchExpressions": required(platform.gpu)}]}
    found: Object = {"requiredDuringSchedulingIgnoredDuringExecution": terms}
    if platform.spot is not None:
        away = [{"key": key, "operator": "NotIn", "values": [value]} for key, value in platform.spot.labels.items()]
        preferred = {"weight": 100, "preference": {"matchExpressions": away}}
        found["preferredDuringSchedulingIgnoredDuringExecution"] = [preferred]
    return found


def tolerations(platform: Platform, *, spot: bool = False) -> list[Object]:
    """For the taints of GPU nodes; with ``spot`` for those of spot nodes as well: a node may have both."""
    taints = [*platform.gpu.tolerations, *(platform.spot.taints if spot and platform.spot is not None else ())]
    return [each.manifest() for each in taints]


def nodes_table(nodes: Iterable[Object], resource: str, label: tuple[str, str] | None = None) -> Table:
    """Nodes with their GPUs, taints and (if asked) whether they carry the label."""
    rows = []
    for node in nodes:
        labels = node["metadata"].get("labels", {})
        taints = ", ".join(f"{taint['key']}:{taint['effect']}" for taint in node["spec"].get("taints", ()))
        mark = [labels.get(label[0], "")] if label else []
        rows.append(
            (
                node["metadata"]["name"],
                labels.get(INSTANCE_TYPE, ""),
                gpus(node, resource, "capacity"),
                gpus(node, resource),
                taints,
                *mark,
            )
        )
    columns = ("node", "instance type", "GPUs", "allocatable", "taints")
    return Table((*columns, label[0]) if label else columns, rows)


def plan_labels(book: Notebook, names: Iterable[str] = ()) -> Plan:
    """Label every node with allocatable GPUs, or just the named ones.

    Raises:
        RunbookError: no node has an allocatable GPU, or a named one has none (a CPU node is never labelled:
            servers would be sent there and stay Pending).
    """
    gpu = book.params.platform.gpu
    nodes = {node["metadata"]["name"]: node for node in book.cluster.list("Node")}

    def usable(node: Object) -> bool:
        # A dry run on a cluster where 01 hasn't been yet: nothing advertises, but labels tell of GPUs.
        return has_gpu(node, gpu.resource) if book.cluster.dry_run else bool(gpus(node, gpu.resource))

    chosen = list(names) or [name for name, node in nodes.items() if usable(node)]
    unknown = [name for name in chosen if name not in nodes]
    if unknown:
        raise RunbookError(f"There is no node {unknown[0]}", why=f"nodes: {', '.join(nodes)}")
    without = [name for name in chosen if not usable(nodes[name])]
    if without or not chosen:
        what = f"Node {without[0]} has no allocatable {gpu.resource}" if without else f"No node has {gpu.resource}"
        raise RunbookError(
            what,
            why=str(nodes_table(nodes.values(), gpu.resource)),
            next_step="Add GPU nodes, or find out in notebook 01 why theirs aren't advertised.",
        )
    label = gpu.node_label
    items = [
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {label.key: label.value}}}
        for name in chosen
    ]
    return book.plan(items, adopt=True)


def ready_nodes(book: Notebook) -> list[Object]:
    """Nodes with allocatable GPUs where servers can go, by their label, type and zone."""
    book.cluster.require_nothing_pending("The list of labelled nodes")
    gpu = book.params.platform.gpu
    selector = ",".join(f"{each['key']} in ({','.join(each['values'])})" for each in required(gpu))
    return [node for node in book.cluster.list("Node", labels=selector) if gpus(node, gpu.resource)]


def note_checks(book: Notebook) -> None:
    """Note for the verdict that the label is on GPU nodes and on no others."""
    gpu = book.params.platform.gpu
    nodes = list(book.cluster.list("Node", labels=f"{gpu.node_label.key}={gpu.node_label.value}"))
    bare = [node["metadata"]["name"] for node in nodes if not gpus(node, gpu.resource)]
    book.check("at least one node carries the label", bool(nodes))
    book.check("every labelled node has allocatable GPUs", not bare, ", ".join(bare))
    book.figure("labelled_nodes", len(nodes))


def require(book: Notebook) -> None:
    """Check the prerequisite of later notebooks.

    Raises:
        RunbookError: no node is ready, or none has as many GPUs as a replica wants.
    """
    gpu, wanted = book.params.platform.gpu, book.params.model.gpus
    ready = ready_nodes(book)
    if max((gpus(node, gpu.resource) for node in ready), default=0) >= wanted:
        return
    label = f"{gpu.node_label.key}={gpu.node_label.value}"
    raise RunbookError(
        f"No node labelled {label}{_among(gpu)} has {wanted} allocatable {gpu.resource}",
        why=str(nodes_table(book.cluster.list("Node"), gpu.resource, (gpu.node_label.key, gpu.node_label.value))),
        next_step="Run notebooks 01 (device plugin) and 02 (labels) first.",
    )


def _among(gpu: Gpu) -> str:
    """The types and zones that are asked for besides the label, in words."""
    asked = [f" of type {' or '.join(gpu.instance_types)}"] if gpu.instance_types else []
    return "".join([*asked, *([f" in zone {' or '.join(gpu.zones)}"] if gpu.zones else [])])


def remove_labels(book: Notebook) -> list[Ref]:
    """Take our label off all nodes; a label that somebody else set stays."""
    there = book.cluster.list("Node", metadata_only=True)
    ours = [Ref("Node", item["metadata"]["name"]) for item in there if MANAGER in managers(item)]
    return [ref for ref in ours if release(book.cluster, ref)]


def keep_off(deployment: Object, platform: Platform) -> Object:
    """A Deployment whose pods prefer nodes without GPUs: those are dear, and get drained with the servers on them."""
    label = platform.gpu.node_label
    away = {"key": label.key, "operator": "NotIn", "values": [label.value]}
    term = {"weight": 100, "preference": {"matchExpressions": [away]}}
    path = "spec.template.spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution"
    return changed(deployment, {path: [term]})
