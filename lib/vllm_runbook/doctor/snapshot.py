"""Everything that the rules look at, read once. Rules are functions of it and ask the cluster nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from ..cluster import Object, get_in
from .context import Context


@dataclass(frozen=True)
class Log:
    """The end of a container's log.

    Attributes:
        previous: it is of the run before the present one.
    """

    lines: tuple[str, ...]
    previous: bool = False


@dataclass(frozen=True)
class Metrics:
    """Requests of deprecated API versions that the API server counted: ``(group/version, resource, removed in)``."""

    deprecated: tuple[tuple[str, str, str], ...] = ()


@dataclass
class Snapshot:
    """One look at a namespace.

    Attributes:
        now: the API server's clock.
        objects: by kind; of the namespace, or of the whole cluster for kinds without namespaces.
        holders: pods of the whole cluster that hold or want GPUs, trimmed; read only when a pod waits for GPUs.
        logs: by pod uid and container; only of containers in trouble.
        served: API versions that the server has; warnings: its own words about deprecated ones.
        gaps: what could not be examined, and why.
    """

    context: Context
    now: datetime
    objects: dict[str, list[Object]] = field(default_factory=dict)
    holders: list[Object] = field(default_factory=list)
    logs: dict[tuple[str, str], Log] = field(default_factory=dict)
    served: frozenset[str] = frozenset()
    warnings: Mapping[tuple[str, str], str] = field(default_factory=dict)
    metrics: Metrics = Metrics()
    gaps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, kind: str) -> list[Object]:
        """Objects of a kind."""
        return self.objects.get(kind, [])

    def named(self, kind: str, name: str) -> Object | None:
        """An object by its name."""
        return self._names.get(kind, {}).get(name)

    def saw(self, kind: str) -> bool:
        """Whether the kind could be read: an empty list says nothing otherwise."""
        return kind in self.objects

    @cached_property
    def _names(self) -> dict[str, dict[str, Object]]:
        return {kind: {item["metadata"]["name"]: item for item in items} for kind, items in self.objects.items()}

    @cached_property
    def _events(self) -> dict[tuple[str, str], list[Object]]:
        """Events by kind and name of their object, oldest first."""
        found: dict[tuple[str, str], list[Object]] = defaultdict(list)
        for event in sorted(self.all("Event"), key=seen_at):
            about = event.get("involvedObject", {})
            found[about.get("kind", ""), about.get("name", "")].append(event)
        return found

    def events(self, item: Object, *reasons: str, kind: str = "") -> list[Object]:
        """Events about an object (about this very one, not a namesake before it), oldest first."""
        meta = item["metadata"]
        uid = meta.get("uid")
        return [
            event
            for event in self._events.get((kind or item["kind"], meta["name"]), ())
            if (not reasons or event.get("reason") in reasons)
            and (not uid or get_in(event, "involvedObject.uid", uid) in (uid, ""))
        ]

    def events_by_reason(self, reason: str) -> list[Object]:
        """All events with a reason, oldest first."""
        return [event for events in self._events.values() for event in events if event.get("reason") == reason]

    def age(self, item: Object) -> float:
        """Seconds since an object was made, by the API server's clock."""
        return self.since(item["metadata"].get("creationTimestamp"))

    def since(self, stamp: str | None) -> float:
        """Seconds since a time stamp; 0 where there is none: what has no time has just begun."""
        return max(0.0, (self.now - parse_time(stamp)).total_seconds()) if stamp else 0.0

    def event_age(self, event: Object) -> float:
        """Seconds since an event was last seen."""
        return self.since(seen_at(event)[0])

    def selected(self, labels: Mapping[str, str]) -> list[Object]:
        """Pods that are not over and have these labels, as a Service, a budget or a policy selects them."""
        fewest = min((self._pods_by_label.get(pair, []) for pair in labels.items()), key=len, default=[])
        return [pod for pod in fewest if labels.items() <= pod["metadata"]["labels"].items()]

    @cached_property
    def _pods_by_label(self) -> dict[tuple[str, str], list[Object]]:
        found: dict[tuple[str, str], list[Object]] = defaultdict(list)
        for pod in self.all("Pod"):
            if not over(pod):
                for pair in (pod["metadata"].get("labels") or {}).items():
                    found[pair].append(pod)
        return found

    @cached_property
    def pods_by_claim(self) -> dict[str, list[Object]]:
        """Pods that are not over, by the claims that they mount."""
        found: dict[str, list[Object]] = defaultdict(list)
        for pod in self.all("Pod"):
            if not over(pod):
                for claim in claims_of(pod):
                    found[claim].append(pod)
        return found

    @cached_property
    def pods_by_node(self) -> dict[str, list[Object]]:
        """Pods that are not over, by node."""
        found: dict[str, list[Object]] = defaultdict(list)
        for pod in self.all("Pod"):
            if (node := pod.get("spec", {}).get("nodeName")) and not over(pod):
                found[node].append(pod)
        return found

    @cached_property
    def cordoned(self) -> list[Object]:
        """Nodes that take no new pods because somebody said so."""
        return [node for node in self.all("Node") if node["spec"].get("unschedulable")]


def parse_time(stamp: str) -> datetime:
    """A time of the API."""
    return datetime.fromisoformat(stamp)


def seen_at(event: Object) -> tuple[str, int]:
    """When an event was last seen; ties are broken by the order of writing."""
    stamp = get_in(event, "series.lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    version = str(event["metadata"].get("resourceVersion", ""))
    return str(stamp or event["metadata"].get("creationTimestamp") or ""), int(version) if version.isdigit() else 0


def over(pod: Object) -> bool:
    """Whether a pod has ended for good."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def claims_of(pod: Object) -> list[str]:
    """Names of the claims that a pod mounts."""
    volumes: Iterable[Object] = pod.get("spec", {}).get("volumes") or ()
    return [volume["persistentVolumeClaim"]["claimName"] for volume in volumes if "persistentVolumeClaim" in volume]


def owner_of(pod: Object) -> tuple[str, str]:
    """Kind and name of the workload that a pod belongs to; a ReplicaSet's Deployment, by the template's hash."""
    meta = pod["metadata"]
    owner: Object = next((each for each in meta.get("ownerReferences") or () if each.get("controller")), {})
    if not owner:
        return "Pod", meta["name"]
    label = (meta.get("labels") or {}).get("pod-template-hash", "")
    if owner["kind"] == "ReplicaSet" and label and owner["name"].endswith(f"-{label}"):
        return "Deployment", owner["name"].removesuffix(f"-{label}")
    return owner["kind"], owner["name"]


def statuses(pod: Object) -> list[Object]:
    """Statuses of all containers, init containers first."""
    status = pod.get("status", {})
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def container_of(pod: Object, name: str) -> Object:
    """A container's specification."""
    spec = pod.get("spec", {})
    containers: list[Object] = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    return next((each for each in containers if each["name"] == name), {})
