"""Drills about GPUs: four reasons for a new server to stay Pending."""

from __future__ import annotations

from .. import cluster as k8s
from ..cluster import Ref
from ..notebook import Notebook
from ..steps import device_plugin
from . import goals
from .drill import Act, Change, Delete, Drill, Until
from .goals import PENDING, SERVED
from .pieces import BATCH, batch_pods, labelled_nodes, restarted

TAINT = "maintenance"
_RESTARTED = (
    "The servers were restarted, as every week. The new pod has been Pending ever since; the old one still serves."
)
_WHY_PENDING = (
    "kubectl -n {ns} describe pod of the Pending one: the scheduler counts the nodes that it ruled out, by reason."
)


def _no_plugin(book: Notebook) -> list[Act]:
    plugin = Ref("DaemonSet", device_plugin.NAME, book.params.platform.device_plugin.namespace)
    silent = Until(
        "no GPU is advertised any more", goals.opposite(goals.nodes(goals.advertised), "GPUs are advertised")
    )
    return [Delete(plugin), silent, *restarted(book)]


def _managed(book: Notebook) -> str:
    mode = book.params.platform.device_plugin.mode
    return "" if mode != "managed" else "a device plugin of this runbook's (device_plugin.mode is managed)"


def _no_label(book: Notebook) -> list[Act]:
    label = f"metadata.labels[{book.params.platform.gpu.node_label.key}]"
    return [*(Change(Ref("Node", name), {label: None}) for name in labelled_nodes(book)), *restarted(book)]


def _taint(book: Notebook) -> list[Act]:
    acts: list[Act] = []
    for name in labelled_nodes(book):
        taints = k8s.get_in(book.cluster.get(Ref("Node", name)), "spec.taints") or []
        new = {"key": TAINT, "value": "true", "effect": "NoSchedule"}
        acts.append(Change(Ref("Node", name), {"spec.taints": [*taints, new]}))
    return [*acts, *restarted(book)]


def _in_use(book: Notebook) -> list[Act]:
    pods = batch_pods(book)
    return [*pods, Until("batch jobs hold the GPUs", goals.running(BATCH, len(pods))), *restarted(book)]


DRILLS = (
    Drill(
        name="gpu-no-plugin",
        title="No GPU is advertised",
        symptom=_RESTARTED,
        hints=(
            _WHY_PENDING,
            "Compare capacity and allocatable of {resource} on the nodes: kubectl describe node.",
            "Nothing tells the kubelets about their GPUs: the device plugin's DaemonSet is gone.",
        ),
        solution=("runbook run 01 --platform {platform} --model {model}",),
        notebook="01_device_plugin",
        acts=_no_plugin,
        shows=PENDING,
        mended=SERVED & goals.nodes(goals.advertised),
        lacks=_managed,
    ),
    Drill(
        name="gpu-no-label",
        title="No node has the label",
        symptom=_RESTARTED,
        hints=(
            _WHY_PENDING,
            "GPUs are free. Compare the pod's node affinity with the nodes' labels: kubectl get nodes --show-labels.",
            "No node carries {label} any more.",
        ),
        solution=("kubectl label nodes {gpu_nodes} {label}",),
        notebook="02_label_gpu_nodes",
        acts=_no_label,
        shows=PENDING,
        mended=SERVED & goals.nodes(goals.labelled),
    ),
    Drill(
        name="gpu-taint",
        title="A taint that nobody tolerates",
        symptom=_RESTARTED,
        hints=(
            _WHY_PENDING,
            "The nodes have free GPUs and the right label. Look at spec.taints, and at what the pod tolerates.",
            f"Somebody has tainted the GPU nodes with {TAINT}=true:NoSchedule, and left.",
        ),
        solution=(f"kubectl taint nodes {{gpu_nodes}} {TAINT}-",),
        notebook="02_label_gpu_nodes",
        acts=_taint,
        shows=PENDING,
        mended=SERVED & goals.nodes(goals.untainted(TAINT)),
    ),
    Drill(
        name="gpu-in-use",
        title="Every GPU is in use",
        symptom=_RESTARTED,
        hints=(
            _WHY_PENDING,
            "The nodes advertise their GPUs. Who has them? kubectl describe node, `Allocated resources`.",
            "Pods called batch-… hold every GPU that the servers leave.",
        ),
        solution=(f"kubectl -n {{ns}} delete pods -l {BATCH}",),
        notebook="04_deploy_vllm",
        acts=_in_use,
        shows=PENDING,
        mended=SERVED & goals.none_with(BATCH, "no GPU is free for one more server"),
    ),
)
