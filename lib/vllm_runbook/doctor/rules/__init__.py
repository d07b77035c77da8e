"""Rules by subject. Each is a pure function from a snapshot to findings."""

from collections.abc import Callable, Iterator

from ..findings import Finding
from ..snapshot import Snapshot
from . import api_versions, autoscaling, containers, disruption, gpus, images, network, serving, storage

Rule = Callable[[Snapshot], Iterator[Finding]]

#: In the order in which findings of equal severity are told: what is underneath comes first.
RULES: tuple[Rule, ...] = (
    disruption.nodes,
    gpus.waiting,
    disruption.preempted,
    storage.claims,
    storage.volumes,
    images.pulls,
    containers.runs,
    autoscaling.scaled_objects,
    autoscaling.autoscalers,
    disruption.budgets,
    api_versions.versions,
    serving.refused,
    serving.pods,
    serving.rollouts,
    serving.jobs,
    serving.services,
    network.policies,
)
