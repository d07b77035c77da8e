"""Plain dicts that are Kubernetes objects: naming them, ordering them, changing a field."""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

#: libyaml's, where it is there: KEDA's manifest takes the other one seconds.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

#: API version of the kinds that this library names itself (objects from manifests bring their own).
API_VERSIONS = {
    "Namespace": "v1",
    "Node": "v1",
    "Pod": "v1",
    "Service": "v1",
    "ServiceAccount": "v1",
    "Secret": "v1",
    "ConfigMap": "v1",
    "Event": "v1",
    "PersistentVolume": "v1",
    "PersistentVolumeClaim": "v1",
    "Deployment": "apps/v1",
    "DaemonSet": "apps/v1",
    "ReplicaSet": "apps/v1",
    "StatefulSet": "apps/v1",
    "Job": "batch/v1",
    "CronJob": "batch/v1",
    "StorageClass": "storage.k8s.io/v1",
    "EndpointSlice": "discovery.k8s.io/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "PriorityClass": "scheduling.k8s.io/v1",
    "PodDisruptionBudget": "policy/v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
    "ScaledObject": "keda.sh/v1alpha1",
    "ScaledJob": "keda.sh/v1alpha1",
    "PodMonitor": "monitoring.coreos.com/v1",
    "PodMonitoring": "monitoring.googleapis.com/v1",
    "PrometheusRule": "monitoring.coreos.com/v1",
    "Role": "rbac.authorization.k8s.io/v1",
    "RoleBinding": "rbac.authorization.k8s.io/v1",
    "ClusterRole": "rbac.authorization.k8s.io/v1",
    "ClusterRoleBinding": "rbac.authorization.k8s.io/v1",
    "CustomResourceDefinition": "apiextensions.k8s.io/v1",
    "APIService": "apiregistration.k8s.io/v1",
    "NodePool": "karpenter.sh/v1",
    "NodeClaim": "karpenter.sh/v1",
    "KWOKNodeClass": "karpenter.kwok.sh/v1alpha1",
    "Lease": "coordination.k8s.io/v1",
    "VolumeSnapshot": "snapshot.storage.k8s.io/v1",
    "GatewayClass": "gateway.networking.k8s.io/v1",
    "Gateway": "gateway.networking.k8s.io/v1",
    "HTTPRoute": "gateway.networking.k8s.io/v1",
    "VirtualService": "networking.istio.io/v1",
    "DestinationRule": "networking.istio.io/v1",
}

#: What others need comes first; deletion goes the other way.
_ORDER = (
    "Namespace",
    "CustomResourceDefinition",
    "PriorityClass",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "VolumeSnapshot",
    "PersistentVolumeClaim",
    "Service",
    "NetworkPolicy",
)


@dataclass(frozen=True, order=True)
class Ref:
    """One object. ``namespace`` is empty for cluster-scoped kinds."""

    kind: str
    name: str
    namespace: str = ""
    api_version: str = ""

    @property
    def version(self) -> str:
        return self.api_version or API_VERSIONS[self.kind]

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace + '/' if self.namespace else ''}{self.name}"


def ref_of(item: Mapping[str, Any]) -> Ref:
    """The name of an object."""
    meta = item["metadata"]
    return Ref(item["kind"], meta["name"], meta.get("namespace", ""), item["apiVersion"])


def in_order(items: Iterable[Object]) -> list[Object]:
    """Objects in the order to apply them; stable within a kind."""
    return sorted(items, key=lambda item: _ORDER.index(item["kind"]) if item["kind"] in _ORDER else len(_ORDER))


def load(file: Path) -> list[Object]:
    """All objects of a manifest file."""
    return [item for item in yaml.load_all(file.read_text(encoding="utf-8"), Loader=_LOADER) if item]


def changed(item: Object, fields: Mapping[str, Any]) -> Object:
    """A copy of an object with some fields set.

    Args:
        fields: path to value, as in ``{"spec.template.spec.containers[0].image": "repo/name:v1"}``. Keys that
            contain dots (labels) are written in brackets: ``metadata.labels[hardware-type]``. A value of None
            removes the field.

    Raises:
        KeyError: a list index that isn't there, or a field below something that is no mapping.
    """
    result = copy.deepcopy(item)
    for path, value in fields.items():
        _put(result, path, value)
    return result


def get_in(item: Any, path: str, default: Any = None) -> Any:
    """The value at a path as in :func:`changed`, or ``default``."""
    for part in _path(path):
        try:
            item = item[part]
        except (KeyError, IndexError, TypeError):
            return default
    return item


def _put(target: Any, path: str, value: Any) -> None:
    parts = list(_parts(path))
    for part, following in itertools.pairwise(parts):
        if isinstance(part, str) and isinstance(target, dict):
            target = target.setdefault(part, [] if isinstance(following, int) else {})
        elif isinstance(part, int) and isinstance(target, list) and part < len(target):
            target = target[part]
        else:
            raise KeyError(f"{path}: {part!r} isn't there")
    last = parts[-1]
    if value is None and isinstance(target, dict):
        target.pop(last, None)
    else:
        target[last] = value


@functools.lru_cache(maxsize=4096)
def _path(path: str) -> tuple[str | int, ...]:
    """The parts of a path; kept, because the same few are asked of many objects."""
    return tuple(_parts(path))


def _parts(path: str) -> Iterator[str | int]:
    for word in _split(path):
        head, _, rest = word.partition("[")
        if head:
            yield head
        for index in filter(None, rest.replace("]", "").split("[")):
            yield int(index) if index.isdigit() else index


def _split(path: str) -> Iterator[str]:
    """Split at dots outside brackets."""
    word, depth = "", 0
    for char in path:
        depth += (char == "[") - (char == "]")
        if char == "." and depth == 0:
            yield word
            word = ""
        else:
            word += char
    yield word
