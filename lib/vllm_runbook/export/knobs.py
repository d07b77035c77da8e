"""Which fields of which objects are values of the chart, and under which names.

Every other field is written into the template as it is, unless platforms differ in it: then it gets a value, too, whose
name is made of the object's and the field's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..cluster import Object, Ref, get_in
from ..steps import deploy, device_plugin, observability, spot, weights

_POD, _FIRST = "spec.template.spec", "spec.template.spec.containers[0]"
_TRIGGER = "spec.triggers[0].metadata"
_DOWN = "spec.advanced.horizontalPodAutoscalerConfig.behavior.scaleDown.stabilizationWindowSeconds"
_REQUIRED = (
    f"{_POD}.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions"
)
_PREFERRED = f"{_POD}.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution"

#: Sections of values.yaml, each with what it is.
SECTIONS = {
    "layers": "Install in turn: infrastructure, weights (wait for the Job), serving; each needs the one before.",
    "components": "What this chart installs.",
    "objects": "Objects that only some platforms have.",
    "annotations": "Annotations for all objects of a layer, for Jobs, and for claims: of hooks, sync waves, policies.",
    "vllm": "The servers. Arguments, resources, probes and times follow from the model's sizing: change them together.",
    "gpu": "Which nodes servers go to.",
    "storage": "The volume of the weights.",
    "prefetch": "The download of the weights; tokenSecret must exist for gated models; it is never part of this chart.",
    "autoscaling": "KEDA asks Prometheus; `threshold` is what one replica may have of the query's sum.",
    "disruptionBudget": "How many servers an eviction may take at once.",
    "spot": "More servers, on spot nodes.",
    "devicePlugin": "NVIDIA's device plugin.",
    "prometheus": "Our Prometheus.",
    "other": "Fields in which the platforms differ.",
}

#: Field of a server, by the value's name.
_SERVER = {
    "vllm.image": f"{_FIRST}.image",
    "vllm.args": f"{_FIRST}.args",
    "vllm.env": f"{_FIRST}.env",
    "vllm.resources": f"{_FIRST}.resources",
    "vllm.rollingUpdate": "spec.strategy.rollingUpdate",
    "vllm.progressDeadlineSeconds": "spec.progressDeadlineSeconds",
    "vllm.terminationGracePeriodSeconds": f"{_POD}.terminationGracePeriodSeconds",
    "vllm.startupProbe.periodSeconds": f"{_FIRST}.startupProbe.periodSeconds",
    "vllm.startupProbe.failureThreshold": f"{_FIRST}.startupProbe.failureThreshold",
    "vllm.podAnnotations": "spec.template.metadata.annotations",
    "vllm.sharedMemory": f"{_POD}.volumes[1].emptyDir.sizeLimit",
    "storage.volume": f"{_POD}.volumes[0]",
}
_SCALER = {
    "minReplicas": "spec.minReplicaCount",
    "maxReplicas": "spec.maxReplicaCount",
    "query": f"{_TRIGGER}.query",
}
_ALL_SCALERS = {
    "autoscaling.cooldownPeriod": "spec.cooldownPeriod",
    "autoscaling.pollingInterval": "spec.pollingInterval",
    "autoscaling.threshold": f"{_TRIGGER}.threshold",
    "autoscaling.serverAddress": f"{_TRIGGER}.serverAddress",
    "autoscaling.scaleDownSeconds": _DOWN,
}


def _download(container: str) -> dict[str, str]:
    return {
        "prefetch.image": f"{container}.image",
        "prefetch.args": f"{container}.args",
        "prefetch.resources": f"{container}.resources",
        "prefetch.hubEndpoint": f"{container}.env[0].value",
        "prefetch.tokenSecret.name": f"{container}.env[2].valueFrom.secretKeyRef.name",
        "prefetch.tokenSecret.key": f"{container}.env[2].valueFrom.secretKeyRef.key",
    }


def _claim(section: str) -> dict[str, str]:
    return {
        f"{section}.class": "spec.storageClassName",
        f"{section}.accessModes": "spec.accessModes",
        f"{section}.size": "spec.resources.requests.storage",
    }


#: Values by kind and name of their objects.
KNOBS: dict[tuple[str, str], dict[str, str]] = {
    ("Deployment", deploy.DEPLOYMENT): {
        **_SERVER,
        "vllm.lifecycle": f"{_FIRST}.lifecycle",
        "gpu.tolerations": f"{_POD}.tolerations",
        "gpu.nodes": _REQUIRED,
        "gpu.preferredNodes": _PREFERRED,
    },
    ("Deployment", spot.NAME): {
        **_SERVER,
        "spot.lifecycle": f"{_FIRST}.lifecycle",
        "spot.readinessProbe": f"{_FIRST}.readinessProbe",
        "spot.livenessProbe": f"{_FIRST}.livenessProbe",
        "spot.tolerations": f"{_POD}.tolerations",
        "spot.nodes": _REQUIRED,
    },
    ("ScaledObject", deploy.DEPLOYMENT): {
        **_ALL_SCALERS,
        **{f"autoscaling.{name}": path for name, path in _SCALER.items()},
    },
    ("ScaledObject", spot.NAME): {**_ALL_SCALERS, **{f"spot.{name}": path for name, path in _SCALER.items()}},
    ("PodDisruptionBudget", deploy.DEPLOYMENT): {"disruptionBudget.maxUnavailable": "spec.maxUnavailable"},
    ("PersistentVolumeClaim", weights.CLAIM): _claim("storage"),
    ("PersistentVolumeClaim", weights.FILL_CLAIM): _claim("storage.fill"),
    ("Job", weights.JOB): {
        **_download(_FIRST),
        "prefetch.activeDeadlineSeconds": "spec.activeDeadlineSeconds",
        "prefetch.claim": f"{_POD}.volumes[0].persistentVolumeClaim.claimName",
    },
    ("DaemonSet", weights.DAEMONSET): {
        **_download(f"{_POD}.initContainers[0]"),
        "storage.nodePath": f"{_POD}.volumes[0].hostPath.path",
        "gpu.tolerations": f"{_POD}.tolerations",
    },
    ("DaemonSet", device_plugin.NAME): {
        "devicePlugin.image": f"{_FIRST}.image",
        "devicePlugin.runtimeClass": f"{_POD}.runtimeClassName",
        "devicePlugin.nodeSelector": f"{_POD}.nodeSelector",
        "devicePlugin.tolerations": f"{_POD}.tolerations",
    },
    ("Deployment", observability.DEPLOYMENT): {
        "prometheus.image": f"{_FIRST}.image",
        "prometheus.resources": f"{_FIRST}.resources",
        "prometheus.configHash": f"spec.template.metadata.annotations[{observability.CONFIG_HASH}]",
    },
    ("ConfigMap", "prometheus"): {"prometheus.config": "data[prometheus.yml]"},
}

#: The flag of an object: by notebook, and by layer where a notebook has both.
_COMPONENTS = {
    ("01_device_plugin", "infrastructure"): "devicePlugin",
    ("05_observability", "infrastructure"): "prometheus",
    ("06_autoscaling", "infrastructure"): "keda",
    ("06_autoscaling", "serving"): "autoscaling",
    ("07_disruption", "serving"): "disruptionBudget",
    ("08_spot", "infrastructure"): "karpenter",
    ("11_canary", "infrastructure"): "gateway",
    ("11_canary", "serving"): "route",
    ("13_multi_model", "infrastructure"): "models",
    ("13_multi_model", "weights"): "models",
    ("13_multi_model", "serving"): "models",
}


def component(notebook: str, layer: str, ref: Ref) -> str:
    """The component that an object belongs to; empty for what is always there."""
    if notebook == "08_spot" and layer == "serving":
        return "spot" if ref.name == spot.NAME else "nodePools"
    return _COMPONENTS.get((notebook, layer), "")


def flag(layer: str, ref: Ref) -> str:
    """The flag of a single object."""
    return f"objects.{layer}{_joined(f'{ref.kind}-{ref.namespace}-{ref.name}')}"


@dataclass(frozen=True)
class Knob:
    """One field that is a value.

    Attributes:
        name: of the value, dotted.
        path: of the field, as in ``cluster.changed``.
        optional: the field is absent where the value is null.
    """

    name: str
    path: str
    optional: bool


def named(ref: Ref, items: list[Object]) -> list[Knob]:
    """The values of the table for an object that is, or may be, different on each platform."""
    found = []
    for name, path in KNOBS.get((ref.kind, ref.name), {}).items():
        having = [get_in(item, path) is not None for item in items]
        # an element of a list can't be left out
        if all(having) or (any(having) and not path.endswith("]")):
            found.append(Knob(name, path, not all(having)))
    return found


def differing(ref: Ref, items: list[Object], known: list[Knob]) -> list[Knob]:
    """Values for what the table doesn't have and the platforms don't agree on."""
    paths = {knob.path for knob in known}
    section = _camel(f"{ref.kind}-{ref.namespace}-{ref.name}")
    return [
        Knob(f"other.{section}.{_camel(path)}", path, optional) for path, optional in _differences(items, "", paths)
    ]


def _differences(items: list[Any], path: str, known: set[str]) -> Iterator[tuple[str, bool]]:
    if path in known or all(item == items[0] for item in items):
        return
    if all(isinstance(item, dict) for item in items):
        for key in dict.fromkeys(key for item in items for key in item):
            name = f"{path}[{key}]" if re.search(r"[.\[\]]", key) or key.isdigit() else f"{path}.{key}" if path else key
            if all(key in item for item in items):
                yield from _differences([item[key] for item in items], name, known)
            elif name not in known:
                yield name, True
    elif all(isinstance(item, list) for item in items) and len({len(item) for item in items}) == 1:
        for at, elements in enumerate(zip(*items, strict=True)):
            yield from _differences(list(elements), f"{path}[{at}]", known)
    else:
        yield path, False


def _camel(text: str) -> str:
    joined = _joined(text)
    return joined[0].lower() + joined[1:]


def _joined(text: str) -> str:
    return "".join(word[0].upper() + word[1:] for word in re.split(r"[^A-Za-z0-9]+", text) if word)
