"""The weights: a volume by the platform's storage strategy, filled by a prefetch that checks every file."""

from __future__ import annotations

import base64
import json
import os
from datetime import datetime
from typing import Any

from .. import cluster as k8s
from ..cluster import Hopeless, Object, Plan, Ref, Selection, State
from ..cluster import explain as explaining
from ..cluster.stream import Events, Seen
from ..errors import RunbookError
from ..manifests import manifest, mirrored
from ..notebook import Notebook
from ..params import Params, Platform
from ..plots import PrefetchProgress
from ..sizing import Sizing
from . import claims, gpu_nodes, protection, storage_classes

CLAIM, FILL_CLAIM, JOB, DAEMONSET = "model-weights", "model-weights-fill", "prefetch-weights", "prefetch-weights"
#: Annotation of the claim: one per model, with the hub's commit as value. Written when a prefetch was verified.
COMPLETE = "weights.runbook.vllm.dev/{}"
_COMPLETE_MANAGER = "vllm-runbook-weights"


def plan_namespace(book: Notebook) -> Plan:
    """The namespace first: then the server can check everything in it before it is made."""
    return book.plan([namespace_object(book.params.platform)])


def namespace_object(platform: Platform) -> Object:
    """The namespace of everything that serves models, with the strictest Pod Security level that the storage allows."""
    level, _ = protection.pod_security(platform)
    return manifest("namespace.yaml", platform.namespace, protection.level_labels(level))


def plan(book: Notebook) -> Plan:
    """Claim and prefetch (a Job; a DaemonSet with strategy per_node), and the token of a gated model.

    Raises:
        RunbookError: the token is missing, the volume too small, or a storage class can't do what the strategy needs:
            a claim that is there, and can't grow to what another model needs, too.
    """
    platform = book.params.platform
    storage_classes.require(book.cluster, platform)
    too_small = [reason for reason in book.sizing.reasons if reason.code == "claim"]
    if too_small:
        raise RunbookError("The volume is too small", why=str(too_small[0]), next_step="Leave storage.size out: null.")
    return book.plan([*token(book), *(_fitting(book, item) for item in objects(book.params, book.sizing))])


def _fitting(book: Notebook, item: Object) -> Object:
    """An object as it can be applied: a claim that is there keeps its size, or may grow."""
    if item["kind"] != "PersistentVolumeClaim":
        return item
    live = claims.require_room(
        book.cluster,
        item,
        "Let its StorageClass allow it (allowVolumeExpansion: true), if the driver can; or let notebook 10 remove "
        "servers and weights (delete_weights), and begin with a claim of the new size.",
    )
    return claims.kept(item, live)


def objects(params: Params, sizing: Sizing) -> list[Object]:
    """Claim and prefetch, without the token: its value is nobody's parameter."""
    policy = protection.prefetch_policy(params.platform)
    if params.platform.storage.strategy == "per_node":
        return [*policy, _daemonset(params)]
    return [*policy, claim(params.platform, sizing.storage.claim), prefetch_job(params, sizing)]


def fill_claim(platform: Platform) -> str:
    """Name of the claim that the Job writes to."""
    return FILL_CLAIM if platform.storage.strategy == "prefilled" else CLAIM


def plan_copy(book: Notebook) -> Plan:
    """With strategy prefilled: the read-only-many copy of the filled disk. Otherwise nothing."""
    return book.plan(copies(book.params, book.sizing))


def copies(params: Params, sizing: Sizing) -> list[Object]:
    """The claim that servers read, where it isn't the one that was filled, and the snapshot that it comes from."""
    storage, namespace = params.platform.storage, params.platform.namespace
    if storage.strategy != "prefilled":
        return []
    fields: dict[str, Any] = {
        "spec.accessModes": [storage.access_modes.serve],
        "spec.storageClassName": storage.serve_class or storage.class_name,
        "spec.resources.requests.storage": sizing.storage.claim,
    }
    items = []
    if storage.copy_by == "snapshot":
        snapshot = {"spec.volumeSnapshotClassName": storage.snapshot_class}
        items.append(manifest("weights/snapshot.yaml", namespace, snapshot))
        source = {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": CLAIM}
        fields["spec.dataSource"] = source
    return [*items, manifest("weights/copy.yaml", namespace, fields)]


def claim(platform: Platform, size: str) -> Object:
    """The claim that is filled, ``size`` large."""
    fields = {
        "metadata.name": fill_claim(platform),
        "spec.accessModes": [platform.storage.access_modes.fill],
        "spec.storageClassName": platform.storage.class_name,
        "spec.resources.requests.storage": size,
    }
    return manifest("weights/pvc.yaml", platform.namespace, fields)


def prefetch_job(params: Params, sizing: Sizing, claim: str = "") -> Object:
    """The prefetch Job; it writes to ``claim``, by default to the one of :func:`fill_claim`."""
    pod = "spec.template.spec"
    fields = _prefetch_container(params, f"{pod}.containers[0]")
    fields["spec.activeDeadlineSeconds"] = sizing.storage.prefetch_deadline_seconds
    fields[f"{pod}.volumes[0].persistentVolumeClaim.claimName"] = claim or fill_claim(params.platform)
    if params.platform.storage.fill_on == "gpu_nodes":
        fields[f"{pod}.affinity.nodeAffinity"] = gpu_nodes.affinity(params.platform)
        fields[f"{pod}.tolerations"] = gpu_nodes.tolerations(params.platform)
    return manifest("weights/prefetch-job.yaml", params.platform.namespace, fields)


def _daemonset(params: Params) -> Object:
    pod, platform = "spec.template.spec", params.platform
    fields = _prefetch_container(params, f"{pod}.initContainers[0]")
    fields[f"{pod}.volumes[0].hostPath.path"] = platform.storage.node_path
    terms = f"{pod}.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
    fields[terms] = [{"matchExpressions": gpu_nodes.required(platform.gpu)}]
    fields[f"{pod}.tolerations"] = gpu_nodes.tolerations(platform, spot=True)
    return mirrored(manifest("weights/per-node.yaml", platform.namespace, fields), platform)


def _prefetch_container(params: Params, container: str) -> dict[str, Any]:
    """Fields of the container that downloads: what, from where, with which token."""
    model, platform = params.model, params.platform
    args = [f"--repo={model.hub_id}", f"--revision={model.revision}", f"--target=/models/{model.hub_id}"]
    secret = platform.hub.token_secret
    return {
        f"{container}.image": platform.image(platform.images.runbook),
        f"{container}.args": args,
        f"{container}.env[0].value": platform.hub.endpoint,
        f"{container}.env[2].valueFrom.secretKeyRef.name": secret.name,
        f"{container}.env[2].valueFrom.secretKeyRef.key": secret.key,
    }


def token(book: Notebook) -> list[Object]:
    """The Secret of a gated model's token, from the environment; nothing where one is there already.

    Raises:
        RunbookError: the model is gated, and there is no token.
    """
    model, secret = book.params.model, book.params.platform.hub.token_secret
    if not model.gated:
        return []
    live = book.cluster.find(Ref("Secret", secret.name, book.namespace))
    token = os.environ.get("HF_TOKEN", "").strip()
    if token and (live is None or k8s.is_ours(live)):
        data = {secret.key: base64.b64encode(token.encode()).decode()}
        fields = {"metadata.name": secret.name, "stringData": None, "data": data}
        return [manifest("weights/token-secret.yaml", book.namespace, fields)]
    if live is None or not (live.get("data") or {}).get(secret.key):
        raise RunbookError(
            f"{model.hub_id} is gated, and there is no token for it",
            why=f"HF_TOKEN isn't set, and there is no Secret {book.namespace}/{secret.name} with key {secret.key}",
            next_step=(
                f"Accept the licence at {book.params.platform.hub.endpoint}/{model.hub_id}, then set HF_TOKEN in the "
                "environment of Jupyter or of the runner. It goes into the Secret and nowhere else."
            ),
        )
    return []


class Follower:
    """Follows the prefetch pods' logs and feeds their progress to a plot."""

    def __init__(self) -> None:
        self.progress = PrefetchProgress({"all files": 0})
        self.start: dict[str, Any] = {}
        self.complete: dict[str, Any] = {}
        self._followed: set[str] = set()

    def take(self, event: Seen, events: Events) -> None:
        """One event of the wait."""
        if event.type == "LINE":
            self._line(event.line, event.at)
        elif event.object["kind"] == "Pod" and event.type != "DELETED" and _has_log(event.object):
            meta = event.object["metadata"]
            if meta["uid"] not in self._followed:
                self._followed.add(meta["uid"])
                events.follow_log(meta["namespace"], meta["name"])

    def _line(self, line: str, at: datetime) -> None:
        try:
            told = json.loads(line)
        except ValueError:
            return
        if told.get("event") == "start":
            self.start = told
            self.progress.expect({"all files": told["total"]})
        elif told.get("event") == "progress":
            self.progress.record(at, {"all files": told["bytes"]})
        elif told.get("event") == "complete":
            self.complete = told
            self.progress.expect({"all files": told["bytes"]})
            self.progress.record(at, {"all files": told["bytes"]})


def _has_log(pod: Object) -> bool:
    statuses = pod.get("status", {}).get("containerStatuses", ())
    return any("running" in status["state"] or "terminated" in status["state"] for status in statuses)


def wait_filled(book: Notebook, follower: Follower, claim: str = "") -> None:
    """Watch claim, Job and pods until the prefetch has verified every file; note the checks.

    Args:
        claim: the one that the Job was given, by default that of :func:`fill_claim`.

    Raises:
        Hopeless: the Job failed, its pod can't start, or the claim can't be provisioned; says why.
        TimedOut: the Job's own deadline (plus a margin) passed.
    """
    if book.params.platform.storage.strategy == "per_node" and not claim:
        _wait_on_nodes(book)
        return
    namespace, claim = book.namespace, claim or fill_claim(book.params.platform)
    job, owner = Ref("Job", JOB, namespace), Ref("PersistentVolumeClaim", claim, namespace)
    selections = [
        Selection.of(job),
        Selection("Pod", namespace, labels=f"batch.kubernetes.io/job-name={JOB}"),
        Selection("PersistentVolumeClaim", namespace, fields=f"metadata.name={claim}"),
        Selection("Event", namespace, fields=f"involvedObject.name={claim},type=Warning"),
    ]
    hint = "Mend the cause and run this notebook again: what was downloaded stays and is not downloaded twice."

    def reached(state: State) -> bool:
        item, pods = state.only("Job"), state.all("Pod")
        if k8s.is_true(item, "Failed"):
            raise Hopeless(f"{job} failed", why=_why_failed(book, item, pods), next_step=hint)
        for pod in pods:
            if _stuck(pod):
                raise Hopeless(f"{job} can't start", why=explaining.why(book.cluster, [pod]), next_step=hint)
        if refusal := _provisioning_failure(state):
            raise Hopeless(f"{owner} can't be provisioned", why=refusal, next_step=hint)
        return k8s.is_true(item, "Complete") and (bool(follower.complete) or not pods)

    state = k8s.wait(
        book.cluster,
        f"{job} is complete",
        selections,
        reached,
        seconds=book.sizing.storage.prefetch_deadline_seconds + 120,
        on_event=follower.take,
        explain=lambda state: explaining.why(book.cluster, state.all("Pod"), owner),
        next_step=hint,
    )
    _note_complete(book, follower)
    bound = state.only("PersistentVolumeClaim") or {}
    book.check("the claim for the weights is bound", k8s.get_in(bound, "status.phase") == "Bound")
    book.check("the prefetch compared every file with the hub's size and checksum", True)
    book.figure("weights_bytes", follower.complete.get("bytes"))
    book.figure("downloaded_bytes", follower.complete.get("downloaded"))


def _stuck(pod: Object) -> bool:
    statuses = pod.get("status", {}).get("containerStatuses", ())
    reasons = [k8s.get_in(status, "state.waiting.reason", "") for status in statuses]
    return any(reason in explaining.STUCK and reason not in ("CrashLoopBackOff", "ErrImagePull") for reason in reasons)


def _provisioning_failure(state: State) -> str:
    """The provisioner's words, once it has failed twice: the first time may be a hiccup."""
    failed = [item for item in state.all("Event") if item.get("reason") == "ProvisioningFailed"]
    claim = state.only("PersistentVolumeClaim") or {}
    newer = [item for item in failed if k8s.get_in(item, "involvedObject.uid") == k8s.get_in(claim, "metadata.uid")]
    if sum(int(item.get("count") or 1) for item in newer) < 2 or k8s.get_in(claim, "status.phase") == "Bound":
        return ""
    return str(newer[-1].get("message", ""))


def _why_failed(book: Notebook, job: Object | None, pods: list[Object]) -> str:
    said = k8s.condition(job, "Failed").get("message", "")
    return f"{said}\n{explaining.why(book.cluster, pods[-1:])}".strip()


def _note_complete(book: Notebook, follower: Follower) -> None:
    """Write on the claim which model it holds, for the notebooks that come after."""
    if commit := follower.complete.get("commit"):
        _annotate(book, fill_claim(book.params.platform), commit)


def _annotate(book: Notebook, claim: str, commit: str) -> None:
    value = f"{book.params.model.hub_id}@{commit}"
    meta = {"name": claim, "namespace": book.namespace, "annotations": {COMPLETE.format(book.params.model.name): value}}
    item = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta}
    book.cluster.apply(item, manager=_COMPLETE_MANAGER, force=True)


def wait_copied(book: Notebook, *, seconds: float = 900) -> None:
    """With strategy prefilled: watch until the copy is bound (or waits for its first consumer)."""
    if book.params.platform.storage.strategy != "prefilled":
        return
    claim = Ref("PersistentVolumeClaim", CLAIM, book.namespace)

    def reached(state: State) -> bool:
        item, events = state.only("PersistentVolumeClaim"), state.all("Event")
        waits = any(event.get("reason") == "WaitForFirstConsumer" for event in events)
        if refusal := _provisioning_failure(state):
            raise Hopeless(f"{claim} can't be provisioned", why=refusal)
        return k8s.get_in(item, "status.phase") == "Bound" or (item is not None and waits)

    selections = [Selection.of(claim), Selection("Event", book.namespace, fields=f"involvedObject.name={CLAIM}")]
    k8s.wait(
        book.cluster,
        f"{claim} is a copy of the filled disk",
        selections,
        reached,
        seconds=seconds,
        explain=lambda _: "\n".join(explaining.events_of(book.cluster, claim)),
    )
    filled = book.cluster.get(Ref("PersistentVolumeClaim", FILL_CLAIM, book.namespace))
    value = _annotation(book, filled)
    _annotate(book, CLAIM, value.rpartition("@")[2])
    book.check("servers get a read-only-many copy of the filled disk", True)


def _wait_on_nodes(book: Notebook) -> None:
    """Watch until every GPU node has its verified copy."""
    daemonset = Ref("DaemonSet", DAEMONSET, book.namespace)

    def reached(state: State) -> bool:
        status = (state.only("DaemonSet") or {}).get("status", {})
        wanted = status.get("desiredNumberScheduled", 0)
        return bool(wanted) and status.get("numberReady", 0) == wanted

    pods = Selection("Pod", book.namespace, labels=f"app.kubernetes.io/name={DAEMONSET}")
    k8s.wait(
        book.cluster,
        f"{daemonset}: every GPU node has the weights",
        [Selection.of(daemonset), pods],
        reached,
        seconds=book.sizing.storage.prefetch_deadline_seconds,
        explain=lambda state: explaining.why(book.cluster, state.all("Pod"), daemonset),
    )
    book.check("every GPU node has a copy that was compared with the hub's sizes and checksums", True)


def revision(book: Notebook) -> str:
    """Which commit of the model the serving claim holds; empty when it holds none."""
    claim = book.cluster.find(Ref("PersistentVolumeClaim", CLAIM, book.namespace))
    return _annotation(book, claim) if claim else ""


def note_revision(book: Notebook) -> None:
    """Note for the verdict that the volume servers mount holds this model; print which commit."""
    if book.params.platform.storage.strategy == "per_node":
        return
    found = revision(book)
    print(found)
    book.check("the claim that servers mount says which revision it holds", bool(found))


def _annotation(book: Notebook, claim: Object) -> str:
    annotations = claim["metadata"].get("annotations") or {}
    value = str(annotations.get(COMPLETE.format(book.params.model.name), ""))
    return value if value.startswith(f"{book.params.model.hub_id}@") else ""


def require(book: Notebook) -> None:
    """Check the prerequisite of later notebooks.

    Raises:
        RunbookError: the weights of this model aren't (verified) on the volume.
    """
    if book.params.platform.storage.strategy == "per_node":
        found = book.cluster.find(Ref("DaemonSet", DAEMONSET, book.namespace))
        if found and k8s.get_in(found, "status.numberReady", 0):
            return
    elif revision(book):
        return
    raise RunbookError(
        f"The weights of {book.params.model.hub_id} are not on the volume",
        why=f"PersistentVolumeClaim {book.namespace}/{CLAIM} doesn't say that they were prefetched and verified",
        next_step="Run notebook 03 (storage and weights) first.",
    )
