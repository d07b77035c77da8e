"""Karpenter: GPU nodes that come when pods wait for them, spot before on demand, and go when they are empty.

What this runbook installs is Karpenter with its kwok provider, which has no cloud behind it (see the manifest). On a
real cloud Karpenter is there already, with that cloud's provider: ``provisioning.install`` is then ``existing``.
"""

from __future__ import annotations

from collections.abc import Sequence

from .. import cluster as k8s
from ..cluster import Object, Plan, Ref, Selection, State
from ..errors import RunbookError
from ..manifests import manifests, mirrored
from ..notebook import Notebook
from ..params import Platform
from . import gpu_nodes, workloads

NAME = "karpenter"
CRD = Ref("CustomResourceDefinition", "nodepools.karpenter.sh")
#: Karpenter sets it on every node and NodeClaim of a pool.
POOL_LABEL = "karpenter.sh/nodepool"
_FILES = ("spot/karpenter/crds.yaml", "spot/karpenter/karpenter.yaml")
_POOLS = "spot/karpenter/nodepools.yaml"
_START_SECONDS = 300  # its program may have to be built first
_NODES_GONE_SECONDS = 300


def plan(book: Notebook) -> Plan:
    """Karpenter's objects; none where it is installed already or where nodes come from elsewhere.

    Raises:
        RunbookError: the parameters say that Karpenter is there and it isn't, or it is there and isn't ours.
    """
    install = book.params.platform.provisioning.install
    live = book.cluster.find(CRD) if install != "none" else None
    if install == "existing" and live is None:
        raise RunbookError(
            "Karpenter isn't installed",
            why=f"{CRD} isn't there, and provisioning.install is existing",
            next_step="Install Karpenter for this cloud, or say that nodes come from elsewhere: "
            "-p provisioning.install=none.",
        )
    if install == "manifest" and live is not None and not k8s.is_ours(live):
        raise RunbookError(
            "Karpenter is installed already",
            why=f"{CRD} is there, and this runbook didn't create it",
            next_step="Use what is there: -p provisioning.install=existing.",
        )
    return book.plan(objects(book.params.platform))


def objects(platform: Platform) -> list[Object]:
    """Karpenter's objects; none where it is there already, or nodes come from elsewhere."""
    if platform.provisioning.install != "manifest":
        return []
    return [_placed(platform, item) for file in _FILES for item in manifests(file)]


def _placed(platform: Platform, item: Object) -> Object:
    """An object for another namespace, or through the platform's registry mirror."""
    namespace = platform.provisioning.namespace
    if k8s.get_in(item, "metadata.namespace") == NAME:
        item = k8s.changed(item, {"metadata.namespace": namespace})
    if item["kind"] == "Namespace":
        item = k8s.changed(item, {"metadata.name": namespace})
    if item["kind"] in ("ClusterRoleBinding", "RoleBinding"):
        item = k8s.changed(item, {"subjects[0].namespace": namespace})
    if item["kind"] == "Deployment":
        item = gpu_nodes.keep_off(mirrored(item, platform), platform)
    return item


def wait_ready(book: Notebook) -> None:
    """Watch until Karpenter runs; notes the check. Nothing to wait for unless this runbook installs it.

    Raises:
        TimedOut: with what its pod says.
    """
    settings = book.params.platform.provisioning
    if settings.install != "manifest":
        return
    workloads.wait_running(book, Ref("Deployment", NAME, settings.namespace), seconds=_START_SECONDS)
    book.check("Karpenter runs", True)


def plan_pools(book: Notebook) -> Plan:
    """The pools ``spot`` and ``on-demand``; after :func:`wait_ready`, for they are of Karpenter's kinds.

    Pools of a Karpenter that was there before are their owner's: nothing is planned then.
    """
    return book.plan(pools(book.params.platform))


def pools(platform: Platform) -> list[Object]:
    """The pools ``spot`` and ``on-demand``, and the class of their nodes; none where Karpenter isn't ours."""
    return manifests(_POOLS) if platform.provisioning.install == "manifest" else []


def wait_pools(book: Notebook, *, seconds: float = 60) -> None:
    """Watch until every NodePool is ready, and there is one; notes the check.

    Raises:
        TimedOut: with the conditions of those that aren't ready.
    """
    if book.params.platform.provisioning.install == "none":
        return

    def reached(state: State) -> bool:
        there = state.all("NodePool")
        return bool(there) and all(k8s.is_true(pool, "Ready") for pool in there)

    def explain(state: State) -> str:
        waiting = [pool for pool in state.all("NodePool") if not k8s.is_true(pool, "Ready")]
        lines = [f"NodePool {pool['metadata']['name']}: {_not_ready(pool)}" for pool in waiting]
        return "\n".join(lines) or "there is no NodePool"

    k8s.wait(
        book.cluster, "every NodePool is ready", [Selection("NodePool")], reached, seconds=seconds, explain=explain
    )
    book.check("every NodePool is ready", True)


def _not_ready(pool: Object) -> str:
    ready = k8s.condition(pool, "Ready")
    return f"{ready.get('reason', 'no condition Ready yet')} {ready.get('message', '')}".strip()


# -- teardown --------------------------------------------------------------------------------------


def parts(book: Notebook) -> set[Ref]:
    """Everything of Karpenter that this runbook could have installed."""
    platform = book.params.platform
    return {k8s.ref_of(item) for item in [*objects(platform), *pools(platform)]}


def users(book: Notebook) -> list[str]:
    """NodePools that others made: Karpenter must stay for them."""
    if not book.cluster.serves("NodePool"):
        return []
    there = book.cluster.list("NodePool", metadata_only=True)
    return [f"NodePool {pool['metadata']['name']}" for pool in there if not k8s.is_ours(pool)]


def remove(book: Notebook, targets: Sequence[tuple[Ref, str]]) -> list[Ref]:
    """Delete the pools, wait until their nodes are gone, and only then Karpenter: without it none could go.

    Raises:
        TimedOut: nodes are left, with what Karpenter says of them.
    """
    ours = [target for target in targets if target[0].kind == "NodePool"]
    gone = k8s.delete(book.cluster, ours)
    if ours:
        names = ",".join(ref.name for ref, _ in ours)
        claims = Selection("NodeClaim", labels=f"{POOL_LABEL} in ({names})")
        k8s.wait(
            book.cluster,
            "the pools' nodes are gone",
            [claims],
            lambda state: not state.by_kind.get("NodeClaim"),
            seconds=_NODES_GONE_SECONDS,
            explain=_draining,
            next_step="A node goes when its pods are gone. A PodDisruptionBudget can hold them up until the pool's "
            "terminationGracePeriod.",
        )
    return gone + k8s.delete(book.cluster, [target for target in targets if target not in ours])


def _draining(state: State) -> str:
    return "\n".join(
        f"NodeClaim {claim['metadata']['name']}: {k8s.condition(claim, 'Drained').get('message', 'still there')}"
        for claim in state.all("NodeClaim")
    )
