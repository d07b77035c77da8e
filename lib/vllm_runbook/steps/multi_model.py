"""Notebook 13: the models of a registry behind one endpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .. import cluster as k8s
from ..cluster import Hopeless, Object, Plan, Ref, Selection, State
from ..cluster import explain as explaining
from ..errors import RunbookError
from ..notebook import Notebook
from ..plots import gpu_usage
from ..tables import Table
from . import autoscaling, claims, gone_models, gpu_nodes, protection, router, served_models, weights, workloads
from .gone_models import Gone
from .observability import prometheus
from .served_models import Server

#: Owner of ``spec.replicas`` of a model that begins at zero, until its autoscaler changes the field.
_BEGIN_MANAGER = "vllm-runbook-begin"
_PREFETCH_PODS = "app.kubernetes.io/name=prefetch-weights"
_START_SECONDS = 600


def overridden(overrides: Mapping[str, Any] | str, registry: str) -> Mapping[str, Any] | str:
    """A notebook's overrides with its registry among them, if it names one."""
    if not registry:
        return overrides
    pair = {"platform.registry": registry}
    return f"{overrides} platform.registry={registry}" if isinstance(overrides, str) else {**overrides, **pair}


def require(book: Notebook, *, remove_gone: bool = False) -> list[Server]:
    """The registry's models, once everything holds that they need.

    Args:
        remove_gone: models that the registry has no more will give their GPUs back.

    Raises:
        ParamsError: the registry has a mistake.
        RunbookError: a model doesn't fit, the volume is too small and can't grow, GPUs or nodes are missing, or 05 or
            06 wasn't here.
    """
    found = served_models.servers(book.params)
    for server in found:
        if not server.sizing.fits:
            raise RunbookError(f"{server.served.model.name} does not fit", why=server.sizing.explain())
    _require_room(book)
    with book.earlier():
        gpu_nodes.require(book)
        _require_free_gpus(book, found, gone_models.find(book, remove=remove_gone))
        _require_metrics(book)
        if not book.cluster.serves("ScaledObject"):
            raise RunbookError("There is no autoscaler yet", next_step="Run notebook 06 (autoscaling) first.")
    return found


def _require_room(book: Notebook) -> None:
    """The volume that is there has room for all models, or may grow: said before anything is applied."""
    for item in served_models.weight_objects(book.params):
        if item["kind"] == "PersistentVolumeClaim":
            live = book.cluster.find(k8s.ref_of(item))
            has = k8s.get_in(live, claims.REQUEST)
            claims.require_room(
                book.cluster,
                item,
                "Let its StorageClass allow it (allowVolumeExpansion: true), if the driver can. If all files fit into "
                f"{has}, say so in the registry: volume_size: {has}. Otherwise let notebook 10 remove servers and "
                "weights (delete_weights), and begin with a claim of the new size.",
            )


def _require_free_gpus(book: Notebook, found: list[Server], gone: Gone) -> None:
    """GPUs for the models that always run and aren't there yet."""
    resource = book.params.platform.gpu.resource
    absent = [each for each in found if book.cluster.find(_deployment_of(each)) is None]
    wanted = sum(each.served.model.gpus * each.served.entry.min_replicas for each in absent)
    pods = list(book.cluster.list("Pod", fields="status.phase!=Succeeded,status.phase!=Failed"))
    left = [pod for pod in pods if not gone.serves(pod)]
    usage = gpu_usage(gpu_nodes.ready_nodes(book), left if gone.remove else pods, resource)
    if sum(node.free for node in usage) < wanted:
        others = "" if gone.remove or left == pods else " Servers of models that are gone have some: remove_gone=True."
        raise RunbookError(
            f"The registry's models need {wanted} free {resource}",
            why="\n".join(f"{node.node}: {node.used} of {node.allocatable} used" for node in usage),
            next_step=f"Free GPUs or add nodes, or give models min_replicas 0; pods would stay Pending.{others}",
        )


def _require_metrics(book: Notebook) -> None:
    platform = book.params.platform
    role = Ref("RoleBinding", "prometheus", platform.models_namespace)
    if platform.metrics.install == "manifest" and book.cluster.find(role) is None:
        raise RunbookError(
            f"Prometheus does not look into namespace {platform.models_namespace}",
            why=f"there is no {role}",
            next_step="Run notebook 05 (observability) with the same registry.",
        )
    prometheus(book).query("vector(1)")


def table(found: list[Server]) -> Table:
    """The registry: names, replicas, GPUs, adapters."""
    rows = []
    for server in found:
        entry, model = server.served.entry, server.served.model
        replicas = f"{entry.min_replicas} to {entry.max_replicas}" + (" (cold)" if entry.cold else "")
        adapters = "\n".join(f"{adapter.name} (rank {adapter.rank})" for adapter in entry.adapters)
        weight = f"{server.sizing.gpu.weights / 2**30:.1f} GiB"
        rows.append((model.name, "\n".join(server.served.names), replicas, model.gpus, weight, adapters))
    columns = ("model", "served as", "replicas", "GPUs each", "weights per GPU", "LoRA adapters")
    return Table(columns, rows)


# -- weights ------------------------------------------------------------------------------------


def plan_namespace(book: Notebook) -> Plan:
    """The registry's namespace, with the Pod Security level of notebook 03's."""
    return book.plan([weights.namespace_object(served_models.there(book.params.platform))])


def plan_weights(book: Notebook, found: list[Server]) -> Plan:
    """The claim for all, a Job for each model and adapter, and the token, if one is gated.

    A claim that is there never gets smaller; where models are gone it stays as large as it is.
    """
    gated = next((server for server in found if server.served.model.gated), None)
    token = weights.token(served_models.room(book, gated)) if gated else []
    return book.plan([*token, *(_as_it_can_be(book, item) for item in served_models.weight_objects(book.params))])


def _as_it_can_be(book: Notebook, item: Object) -> Object:
    if item["kind"] != "PersistentVolumeClaim":
        return item
    kept = claims.kept(item, book.cluster.find(k8s.ref_of(item)))
    if kept != item:
        sizes = [k8s.get_in(each, claims.REQUEST) for each in (kept, item)]
        print(f"{k8s.ref_of(item)} stays at {sizes[0]}: {sizes[1]} would do, but a claim can't shrink")
    return kept


def wait_weights(book: Notebook, found: list[Server]) -> Table:
    """Watch until every Job has verified every file; notes the check.

    Raises:
        Hopeless: a Job failed; says why.
        TimedOut: the Jobs' own deadline (plus a margin) passed.
    """
    namespace = book.params.platform.models_namespace
    wanted = {k8s.ref_of(job).name for job in served_models.jobs(found)}
    hint = "Mend the cause and run this notebook again: what was downloaded stays and is not downloaded twice."

    def reached(state: State) -> bool:
        done = {job["metadata"]["name"]: job for job in state.all("Job")}
        for name in wanted & set(done):
            if k8s.is_true(done[name], "Failed"):
                pods = [pod for pod in state.all("Pod") if _job_of(pod) == name]
                raise Hopeless(f"Job {name} failed", why=explaining.why(book.cluster, pods[-1:]), next_step=hint)
        return all(k8s.is_true(done.get(name), "Complete") for name in wanted)

    state = k8s.wait(
        book.cluster,
        f"{len(wanted)} prefetch Jobs are complete",
        [Selection("Job", namespace), Selection("Pod", namespace, labels=_PREFETCH_PODS)],
        reached,
        seconds=max(server.sizing.storage.prefetch_deadline_seconds for server in found) + 120,
        explain=lambda state: explaining.why(book.cluster, state.all("Pod")),
        next_step=hint,
    )
    book.check("every model's and adapter's files were compared with the hub's sizes and checksums", True)
    rows = [_told(book, job, state.all("Pod")) for job in state.all("Job") if job["metadata"]["name"] in wanted]
    return Table(("Job", "what", "directory", "commit", "MiB", "downloaded now, MiB"), rows)


def _told(book: Notebook, job: Object, pods: list[Object]) -> tuple[Any, ...]:
    """What a Job was to bring, and what the log of its pod says, if that is still there."""
    name = job["metadata"]["name"]
    arguments = k8s.get_in(job, "spec.template.spec.containers[0].args", ())
    given = dict(each.removeprefix("--").split("=", 1) for each in arguments)
    pod = next((pod for pod in pods if _job_of(pod) == name and k8s.get_in(pod, "status.phase") == "Succeeded"), None)
    lines = explaining.last_lines(book.cluster, k8s.ref_of(pod)) if pod else []
    events = [json.loads(line) for line in lines if line.startswith("{")]
    last: dict[str, Any] = next((event for event in events if event.get("event") == "complete"), {})
    sizes = [f"{last[key] / 2**20:.1f}" if key in last else "" for key in ("bytes", "downloaded")]
    return (name, given.get("repo"), given.get("target"), str(last.get("commit", ""))[:12], *sizes)


def _job_of(pod: Object) -> str:
    return str(k8s.get_in(pod, "metadata.labels[batch.kubernetes.io/job-name]", ""))


# -- servers ------------------------------------------------------------------------------------


def plan_servers(book: Notebook) -> Plan:
    """Servers, Services and budgets, the router, the API key and who may reach whom."""
    key = protection.api_key_secret(served_models.room(book))
    return book.plan([*key, *served_models.server_objects(book.params), *router.objects(book.params)])


def apply_servers(book: Notebook, found: list[Server], plan: Plan) -> None:
    """Apply; a cold model that is new begins at zero, not with a replica that loads for nothing.

    ``spec.replicas`` of the new Deployment is written under another field manager: this runbook never owns it, and the
    autoscaler takes it over.
    """
    if not book.cluster.dry_run:
        for server in found:
            if server.cold and book.cluster.find(_deployment_of(server)) is None:
                item = k8s.changed(served_models.deployment(server), {"spec.replicas": 0})
                book.cluster.apply(k8s.marked(item, book.step), manager=_BEGIN_MANAGER)
    book.apply(plan)


def _deployment_of(server: Server) -> Ref:
    return Ref("Deployment", server.name, server.params.platform.namespace)


def wait_servers(book: Notebook, found: list[Server]) -> Table:
    """Watch until every server that always runs and both routers are ready; notes the checks.

    Raises:
        Hopeless: a pod can't start: its events and last log lines say why.
        TimedOut: the slowest one's own deadline passed.
    """
    namespace = book.params.platform.models_namespace
    wanted = {router.DEPLOYMENT, *(server.name for server in found if not server.cold)}
    ours = wanted | {server.name for server in found}

    def reached(state: State) -> bool:
        for pod in state.all("Pod"):
            if k8s.get_in(pod, "metadata.labels[app.kubernetes.io/name]") not in ours:
                continue  # of a model that is gone
            if not pod["metadata"].get("deletionTimestamp") and workloads.can_not_start(pod):
                name = pod["metadata"]["name"]
                raise Hopeless(f"Pod {name} can't start", why=explaining.why(book.cluster, [pod]))
        there = {item["metadata"]["name"]: item for item in state.all("Deployment")}
        return all(workloads.rolled_out(there.get(name)) for name in wanted)

    starts = [server.sizing.startup for server in found]
    state = k8s.wait(
        book.cluster,
        "every server that always runs is available, and the router",
        [Selection("Deployment", namespace), Selection("Pod", namespace, labels=_SERVING)],
        reached,
        seconds=_START_SECONDS + max(start.period_seconds * start.failure_threshold for start in starts),
        explain=lambda state: explaining.why(book.cluster, state.all("Pod")),
    )
    book.check("every server that always runs is ready, and the router twice", True)
    names = [*(server.name for server in found), router.DEPLOYMENT]
    rows = [
        (name, k8s.get_in(item, "spec.replicas"), k8s.get_in(item, "status.readyReplicas", 0))
        for name in names
        for item in state.all("Deployment")
        if item["metadata"]["name"] == name
    ]
    return Table(("Deployment", "replicas", "ready"), rows)


_SERVING = "app.kubernetes.io/component in (inference,router)"


def prove(book: Notebook, found: list[Server]) -> Table:
    """The query of each model against the live Prometheus: exactly one series, once routers are scraped.

    Raises:
        TimedOut: Prometheus doesn't see servers or routers.
    """
    asked, interval = prometheus(book), book.params.platform.metrics.scrape_interval_seconds
    queries = {server.name: served_models.query(server) for server in found}

    def answers() -> dict[str, list[Any]]:
        return {name: asked.query(query) for name, query in queries.items()}

    asked.until(
        "each query yields one series",
        lambda: all(len(series) == 1 for series in answers().values()),
        seconds=60 + 6 * interval,
        every=interval / 2,
        explain=lambda: "\n".join(f"{len(series)} series: {queries[name]}" for name, series in answers().items()),
    )
    book.check("each model's query yields exactly one series, at zero replicas, too", True)
    rows = [(name, queries[name], series[0].value) for name, series in answers().items()]
    return Table(("model", "query", "now"), rows)


def plan_scaling(book: Notebook) -> Plan:
    """A ScaledObject for each model."""
    return book.plan(served_models.scaled_objects(book.params))


def wait_scaling(book: Notebook, found: list[Server]) -> None:
    """Watch until KEDA has accepted every ScaledObject; notes the check."""
    for server in found:
        autoscaling.wait_ready(served_models.room(book), server.name)
    book.check("KEDA accepts every ScaledObject", True)
