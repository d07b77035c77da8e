"""What a registry has no more: objects of models, adapters and budgets that it once had, and that nothing removes.

A namespace holds one registry. What notebook 13 made there, by its labels, and wouldn't make now, is gone from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .. import cluster as k8s
from ..cluster import Object, Ref
from ..notebook import Notebook
from ..tables import Table
from . import router, served_models, workloads

#: Kinds that come and go with a model, in the order of creation. The volume isn't among them: weights stay.
KINDS = ("Deployment", "Job", "PodDisruptionBudget", "Service", "ScaledObject")
_NAME = "app.kubernetes.io/name"
#: Beyond the servers' own grace period; and for a router to begin.
_SECONDS = 120
_ROUTER_SECONDS = 600


@dataclass(frozen=True)
class Gone:
    """Objects in the cluster that the registry has no more.

    Attributes:
        targets: name and uid of each, in the order of creation.
        remove: whether they are to be deleted.
    """

    targets: list[tuple[Ref, str]]
    remove: bool

    def table(self) -> Table:
        """What happens to each."""
        action, why = ("remove", "") if self.remove else ("keep", "; remove_gone=True removes it")
        rows: list[tuple[Any, ...]] = [(action, ref, f"the registry has it no more{why}") for ref, _ in self.targets]
        return Table(("action", "object", "why"), rows or [("", "nothing here is of a model that is gone", "")])

    def __str__(self) -> str:
        return str(self.table())

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return self.table()._repr_mimebundle_()

    def serves(self, pod: Object) -> bool:
        """Whether a pod is a server of a model that is gone."""
        return (k8s.get_in(pod, f"metadata.labels[{_NAME}]"), pod["metadata"].get("namespace")) in self._servers

    @cached_property
    def _servers(self) -> set[tuple[str, str]]:
        return {(ref.name, ref.namespace) for ref, _ in self.targets if ref.kind == "Deployment"}


def find(book: Notebook, *, remove: bool = False) -> Gone:
    """Look for them.

    Args:
        remove: whether :func:`delete` is to delete them; otherwise they are only told.
    """
    params = book.params
    wanted = {
        k8s.ref_of(item)
        for item in (
            *served_models.jobs(served_models.servers(params)),
            *served_models.server_objects(params),
            *router.objects(params),
            *served_models.scaled_objects(params),
        )
    }
    there = k8s.created(book.cluster, KINDS, [params.platform.models_namespace], book.step)
    return Gone([target for target in there if target[0] not in wanted], remove)


def delete(book: Notebook, gone: Gone) -> None:
    """Delete them if that was wished, each watched until it is gone: autoscalers first, servers in their grace period.

    Not before the routers have the new table: no request is sent to a server that ends. Weights stay on the volume.

    Raises:
        TimedOut: the routers don't start, or something holds an object.
    """
    if not (gone.remove and gone.targets):
        return
    if not book.cluster.dry_run:
        routers = Ref("Deployment", router.DEPLOYMENT, book.params.platform.models_namespace)
        workloads.wait_running(book, routers, seconds=_ROUTER_SECONDS)
    done = k8s.delete(book.cluster, gone.targets, seconds=_SECONDS + _grace_seconds(book, gone))
    book.result.changed += len(done)


def _grace_seconds(book: Notebook, gone: Gone) -> int:
    servers = [book.cluster.find(ref) for ref, _ in gone.targets if ref.kind == "Deployment"]
    return max((k8s.get_in(each, "spec.template.spec.terminationGracePeriodSeconds", 0) for each in servers), default=0)
