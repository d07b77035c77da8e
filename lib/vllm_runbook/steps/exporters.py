"""What our Prometheus asks beside the servers: kube-state-metrics about objects, the DCGM exporter about GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import cluster as k8s
from ..cluster import Object
from ..manifests import manifest, manifests, mirrored
from ..params import Platform
from . import gpu_nodes

STATE_METRICS, DCGM = "kube-state-metrics", "dcgm-exporter"


def wanted(platform: Platform) -> list[str]:
    """Those that this runbook installs: only beside its own Prometheus, which alone knows of them."""
    monitoring = platform.monitoring
    if platform.metrics.install != "manifest":
        return []
    found = {STATE_METRICS: monitoring.state_metrics, DCGM: monitoring.dcgm_exporter}
    return [name for name, source in found.items() if source == "manifest"]


def objects(platform: Platform, namespaces: Sequence[str]) -> list[Object]:
    """Their objects.

    Args:
        namespaces: that kube-state-metrics tells of.
    """
    found: list[Object] = []
    if STATE_METRICS in wanted(platform):
        found += _state_metrics(platform, namespaces)
    if DCGM in wanted(platform):
        found.append(_dcgm(platform))
    return found


def _state_metrics(platform: Platform, namespaces: Sequence[str]) -> list[Object]:
    home, found = platform.metrics.namespace, []
    for item in manifests("monitoring/kube-state-metrics.yaml"):
        kind = item["kind"]
        if kind.endswith("Binding"):
            item = k8s.changed(item, {"subjects[0].namespace": home})
        if kind in ("Role", "RoleBinding"):
            found += [k8s.changed(item, {"metadata.namespace": namespace}) for namespace in namespaces]
            continue
        if kind in ("ServiceAccount", "Deployment"):
            item = k8s.changed(item, {"metadata.namespace": home})
        if kind == "Deployment":
            container = "spec.template.spec.containers[0]"
            fields = {
                f"{container}.image": platform.image(platform.monitoring.state_metrics_image),
                f"{container}.args[0]": f"--namespaces={','.join(namespaces)}",
            }
            item = gpu_nodes.keep_off(k8s.changed(item, fields), platform)
        found.append(item)
    return found


def _dcgm(platform: Platform) -> Object:
    pod, plugin = "spec.template.spec", platform.device_plugin
    terms = "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]"
    fields: dict[str, Any] = {
        f"{pod}.containers[0].image": platform.monitoring.dcgm_exporter_image,
        f"{pod}.tolerations": gpu_nodes.tolerations(platform, spot=True),
        f"{pod}.{terms}.matchExpressions": gpu_nodes.required(platform.gpu),
    }
    if plugin.runtime_class:
        fields[f"{pod}.runtimeClassName"] = plugin.runtime_class
    return mirrored(manifest("monitoring/dcgm-exporter.yaml", plugin.namespace, fields), platform)
