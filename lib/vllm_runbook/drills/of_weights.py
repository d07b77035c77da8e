"""Drills about weights and scaling: the hub, claims, disks, and what the autoscaler sees."""

from __future__ import annotations

from typing import Any

from .. import cluster as k8s
from ..cluster import Object, Ref
from ..manifests import manifest
from ..notebook import Notebook
from ..steps import autoscaling, deploy, keda, weights
from . import goals
from .drill import Act, Change, Create, Drill, Replace, Until
from .goals import METRIC_READ, PENDING, SERVED
from .pieces import CONTAINER, POD, changed_server, server, sleeper

#: The prefetch of another model, with its own claim, endpoint and token: what these drills break.
NEXT = "prefetch-next"
CLAIM, DISK, WARMER = "weights-next", "compile-cache", "cache-warmer"
#: Needs a licence that is granted by hand, on any hub.
GATED = "meta-llama/Llama-3.1-8B-Instruct"
#: An address for documentation (RFC 5737): nobody ever answers from there.
NOBODY = "http://192.0.2.10"
_PREFETCH = "The next model's weights are to be there by noon. Its prefetch Job doesn't get on."
_ITS_LOG = f"kubectl -n {{ns}} logs job/{NEXT}, or describe its pod: which exit code, which last line?"
_RETRY = " The Job's pod tries again by itself, within seconds to minutes."


def _prefetch(book: Notebook, *, repo: str = "", token: str = "", endpoint: str = "") -> list[Act]:
    """A prefetch that reads its endpoint from a ConfigMap and its token from a Secret, at each try anew."""
    platform = book.params.platform
    repo = repo or book.params.model.hub_id
    settings: Object = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": NEXT, "namespace": book.namespace},
        "data": {"endpoint": endpoint or platform.hub.endpoint},
    }
    secret: Object = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": NEXT, "namespace": book.namespace},
        "stringData": {"token": token},
    }
    claim = {
        "metadata.name": CLAIM,
        "spec.accessModes": [platform.storage.access_modes.fill],
        "spec.storageClassName": platform.storage.class_name,
    }
    env, pod = f"{CONTAINER}.env", POD
    fields: dict[str, Any] = {
        "metadata.name": NEXT,
        "spec.podFailurePolicy": None,
        "spec.backoffLimit": 30,
        f"{pod}.restartPolicy": "OnFailure",
        f"{CONTAINER}.args": [f"--repo={repo}", f"--target=/models/{repo}", "--attempts=2", "--retry-wait=0.5"],
        f"{env}[0]": {"name": "HF_ENDPOINT", "valueFrom": {"configMapKeyRef": {"name": NEXT, "key": "endpoint"}}},
        f"{env}[2]": {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": NEXT, "key": "token"}}},
    }
    if not token:
        fields[f"{env}[2]"] = {"name": "HF_HUB_ETAG_TIMEOUT", "value": "2"}
    job = k8s.changed(weights.prefetch_job(book.params, book.sizing, CLAIM), fields)
    before = [Create(settings), Create(secret)] if token else [Create(settings)]
    return [*before, Create(manifest("weights/pvc.yaml", book.namespace, claim)), Create(job)]


def _no_job(book: Notebook) -> str:
    """Where every node has its own copy, no Job fills a claim."""
    return (
        "a prefetch Job (storage.strategy is per_node)" if book.params.platform.storage.strategy == "per_node" else ""
    )


def _no_token(book: Notebook) -> str:
    there = book.params.platform.rehearsal.no_access_token
    return _no_job(book) if there else "a token without access (rehearsal.no_access_token)"


def _forbidden(book: Notebook) -> list[Act]:
    return _prefetch(book, repo=GATED, token=str(book.params.platform.rehearsal.no_access_token))


def _no_class(book: Notebook) -> list[Act]:
    """The server's weights on a claim whose class was never made."""
    fields = {"metadata.name": CLAIM, "spec.storageClassName": "shared-fast"}
    volumes = [_claimed("weights", CLAIM, read_only=True), *_volumes(book)[1:]]
    create = Create(manifest("weights/pvc.yaml", book.namespace, fields))
    return [create, *changed_server(book, {f"{POD}.volumes": volumes})]


def _volumes(book: Notebook) -> list[Object]:
    return list(k8s.get_in(book.cluster.get(server(book)), f"{POD}.volumes"))


def _claimed(name: str, claim: str, *, read_only: bool = False) -> Object:
    return {"name": name, "persistentVolumeClaim": {"claimName": claim} | ({"readOnly": True} if read_only else {})}


def _held_disk(book: Notebook) -> list[Act]:
    """A disk that a pod on one node holds, and that the server on another one wants."""
    holder, _ = _neighbours(book) or ("", "")
    claim = {
        "metadata.name": DISK,
        "spec.accessModes": ["ReadWriteOnce"],
        "spec.storageClassName": book.params.platform.rehearsal.disk_class,
        "spec.resources.requests.storage": "2Gi",
    }
    warmer = {
        "metadata.name": WARMER,
        "metadata.labels": {"app.kubernetes.io/name": WARMER},
        "spec.nodeSelector": {"kubernetes.io/hostname": holder},
        "spec.containers[0].resources.limits": {"cpu": "10m", "memory": "16Mi"},
        "spec.containers[0].volumeMounts": [{"name": "cache", "mountPath": "/cache"}],
        "spec.volumes": [_claimed("cache", DISK)],
    }
    mounts = k8s.get_in(book.cluster.get(server(book)), f"{CONTAINER}.volumeMounts")
    fields = {
        f"{POD}.volumes": [*_volumes(book), _claimed("cache", DISK)],
        f"{CONTAINER}.volumeMounts": [*mounts, {"name": "cache", "mountPath": "/cache"}],
    }
    held = Until("a pod holds the disk", goals.running(f"app.kubernetes.io/name={WARMER}", 1))
    disk = Create(manifest("weights/pvc.yaml", book.namespace, claim))
    return [disk, Create(sleeper(book, warmer)), held, *changed_server(book, fields)]


_ZONE = "metadata.labels[topology.kubernetes.io/zone]"


def _neighbours(book: Notebook) -> tuple[str, str] | None:
    """A node without our label and a labelled one in the same zone: disks don't leave their zone."""
    label = book.params.platform.gpu.node_label
    nodes = list(book.cluster.list("Node"))
    servers = [node for node in nodes if (node["metadata"].get("labels") or {}).get(label.key) == label.value]
    for other in nodes:
        for node in servers:
            if other not in servers and k8s.get_in(other, _ZONE) == k8s.get_in(node, _ZONE):
                return other["metadata"]["name"], node["metadata"]["name"]
    return None


def _no_disk(book: Notebook) -> str:
    if not book.params.platform.rehearsal.disk_class:
        return "a class of disks for one node (rehearsal.disk_class)"
    return "" if _neighbours(book) else "a node without GPUs in a GPU node's zone"


def _read_only(book: Notebook) -> list[Act]:
    """The prefetch once more, into another directory, with its volume mounted as a server does it."""
    args = [f"--repo={book.params.model.hub_id}", "--target=/models/next"]
    fields = {f"{CONTAINER}.args": args, f"{CONTAINER}.volumeMounts[0].readOnly": True}
    return [Replace(k8s.changed(weights.prefetch_job(book.params, book.sizing), fields))]


def _no_metrics_server(book: Notebook) -> list[Act]:
    return [Change(_metrics_server(book), {"spec.replicas": 0})]


def _metrics_server(book: Notebook) -> Ref:
    return Ref("Deployment", keda.METRICS_SERVER, book.params.platform.autoscaling.namespace)


def _not_our_keda(book: Notebook) -> str:
    item = book.cluster.find(_metrics_server(book))
    return "" if item and k8s.is_ours(item) else f"KEDA, installed by this runbook ({_metrics_server(book)})"


def _wrong_target(book: Notebook) -> list[Act]:
    target = Ref("ScaledObject", autoscaling.NAME, book.namespace)
    return [Change(target, {"spec.scaleTargetRef.name": deploy.DEPLOYMENT.replace("c", "s")})]


DRILLS = (
    Drill(
        name="hub-timeout",
        title="The hub doesn't answer",
        symptom=_PREFETCH,
        hints=(
            _ITS_LOG,
            "It waits and gives up: nobody refuses it, nobody answers. Which address does it ask?",
            f"HF_ENDPOINT comes from ConfigMap {NEXT}, and names a mirror that is gone.{_RETRY}",
        ),
        solution=(
            f"kubectl -n {{ns}} patch configmap {NEXT} --type=merge"
            """ -p '{{"data": {{"endpoint": "{hub}"}}}}'""",
        ),
        notebook="03_storage_weights",
        acts=lambda book: _prefetch(book, endpoint=NOBODY),
        shows=goals.failing(NEXT),
        mended=goals.complete(NEXT),
        lacks=_no_job,
    ),
    Drill(
        name="hub-auth",
        title="The hub doesn't know the token",
        symptom=_PREFETCH,
        hints=(
            _ITS_LOG,
            "401 is about who asks, not about the model: an invalid token is refused even for public models.",
            f"The token in Secret {NEXT} was revoked. Put a valid one there.{_RETRY}",
        ),
        solution=(
            f"kubectl -n {{ns}} create secret generic {NEXT} --from-literal=token=$HF_TOKEN"
            " --dry-run=client -o yaml | kubectl apply -f -",
        ),
        notebook="03_storage_weights",
        acts=lambda book: _prefetch(book, token="hf_revoked_last_year"),
        shows=goals.failing(NEXT),
        mended=goals.complete(NEXT),
        lacks=_no_job,
    ),
    Drill(
        name="hub-forbidden",
        title="The licence wasn't accepted",
        symptom=_PREFETCH,
        hints=(
            _ITS_LOG,
            "The hub knows the token. What does 403 say about its owner and this model?",
            f"The model is gated, and the owner of the token in Secret {NEXT} wasn't granted access. "
            f"Ask for it, or take the token of somebody who has it.{_RETRY}",
        ),
        solution=(
            f"kubectl -n {{ns}} create secret generic {NEXT} --from-literal=token=$HF_TOKEN"
            " --dry-run=client -o yaml | kubectl apply -f -",
        ),
        notebook="03_storage_weights",
        acts=_forbidden,
        shows=goals.failing(NEXT),
        mended=goals.complete(NEXT),
        lacks=_no_token,
    ),
    Drill(
        name="pvc-pending",
        title="A claim that stays Pending",
        symptom="The weights move to faster storage. The new server's pod has been Pending ever since.",
        hints=(
            "kubectl -n {ns} describe pod: what does the scheduler wait for?",
            "kubectl -n {ns} describe pvc of the claim that it mounts; then kubectl get storageclass.",
            "The claim asks for the class shared-fast, which doesn't exist.",
        ),
        solution=(f"kubectl -n {{ns}} rollout undo deployment/{deploy.DEPLOYMENT}",),
        notebook="03_storage_weights",
        acts=_no_class,
        shows=PENDING,
        mended=SERVED,
    ),
    Drill(
        name="multi-attach",
        title="One disk, two nodes",
        symptom="Servers got a disk for compiled kernels, so that they start faster. The new one doesn't start at all.",
        hints=(
            "kubectl -n {ns} describe pod: it has a node, and stays in ContainerCreating. What do its events say?",
            "A ReadWriteOnce disk is attached to one node. Who has it? kubectl -n {ns} describe pvc: `Used By`.",
            f"Pod {WARMER} holds it on another node. Let it go.",
        ),
        solution=(f"kubectl -n {{ns}} delete pod {WARMER}",),
        notebook="03_storage_weights",
        acts=_held_disk,
        shows=goals.told("FailedAttachVolume", "Multi-Attach", "the disk isn't missed yet"),
        mended=SERVED,
        lacks=_no_disk,
    ),
    Drill(
        name="read-only-volume",
        title="Weights that can't be written",
        symptom="Somebody ran the prefetch with a manifest of their own. It fails at once, though the volume has room.",
        hints=(
            f"kubectl -n {{ns}} logs job/{weights.JOB}: what can't it do?",
            "Servers mount the weights read-only, and are right to. What about the one who writes them?",
            "The Job mounts its volume with readOnly: true. A Job can't be changed: make it anew, as notebook 03 does.",
        ),
        solution=("runbook run 03 --platform {platform} --model {model}",),
        notebook="03_storage_weights",
        acts=_read_only,
        shows=goals.failing(weights.JOB),
        mended=goals.complete(weights.JOB),
        lacks=_no_job,
    ),
    Drill(
        name="hpa-no-metric",
        title="The autoscaler is blind",
        symptom="Load has doubled since lunch, and there are as many servers as before.",
        hints=(
            "kubectl -n {ns} describe hpa: conditions. Can it read what it scales on?",
            "The HPA asks the API server, which asks KEDA's metrics server: kubectl get apiservice | grep metrics.",
            "KEDA's metrics server has no replica.",
        ),
        solution=("kubectl -n {keda} scale deployment/" + keda.METRICS_SERVER + " --replicas=1",),
        notebook="06_autoscaling",
        acts=_no_metrics_server,
        shows=goals.opposite(METRIC_READ, "the HPA still reads its metric"),
        mended=METRIC_READ,
        needs="06",
        lacks=_not_our_keda,
    ),
    Drill(
        name="scaledobject-not-ready",
        title="KEDA scales nothing",
        symptom="The autoscaler was tidied up on Friday. Since then nothing scales, and nobody got an error.",
        hints=(
            "kubectl -n {ns} get scaledobject: the READY column.",
            "kubectl -n {ns} describe scaledobject: conditions and events. Whom does it want to scale?",
            "Its scaleTargetRef names a Deployment that doesn't exist: one letter is wrong.",
        ),
        solution=(
            f"kubectl -n {{ns}} patch scaledobject {autoscaling.NAME} --type=merge"
            """ -p '{{"spec": {{"scaleTargetRef": {{"name": "{server}"}}}}}}'""",
        ),
        notebook="06_autoscaling",
        acts=_wrong_target,
        shows=goals.opposite(goals.ACCEPTED, "KEDA still accepts the ScaledObject"),
        mended=goals.ACCEPTED & METRIC_READ,
        needs="06",
    ),
)
