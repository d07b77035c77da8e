"""Drills about the server itself: memory, flags, probes, images. Each is a new version that can't start."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from .. import cluster as k8s
from ..cluster import Object
from ..notebook import Notebook
from ..steps import deploy
from . import goals
from .drill import Act, Create, Drill
from .goals import FAILING, SERVED
from .pieces import CONTAINER, POD, changed_server, more_arguments

LOGIN = "registry-login"
_UNDO = "kubectl -n {ns} rollout undo deployment/" + deploy.DEPLOYMENT
_STUCK = "A new version of the server was rolled out this morning. It doesn't get ready; the old one still serves."
_LOG = "kubectl -n {ns} logs of the new pod, with --previous where it has restarted: the last error line counts."


def _little_memory(book: Notebook) -> list[Act]:
    """Less than an idle server's processes hold."""
    resources = k8s.get_in(book.cluster.get(_ref(book)), f"{CONTAINER}.resources")
    little = {kind: {**values, "memory": "2Gi"} for kind, values in resources.items()}
    return changed_server(book, {f"{CONTAINER}.resources": little, f"{POD}.volumes": _small_shm(book)})


def _small_shm(book: Notebook) -> list[Object]:
    """The server's volumes, with a /dev/shm that the small limit can hold."""
    volumes = k8s.get_in(book.cluster.get(_ref(book)), f"{POD}.volumes")
    return [
        k8s.changed(volume, {"emptyDir.sizeLimit": "1Gi"}) if k8s.get_in(volume, "emptyDir.medium") else volume
        for volume in volumes
    ]


def _ref(book: Notebook) -> k8s.Ref:
    return k8s.Ref("Deployment", deploy.DEPLOYMENT, book.namespace)


def _huge_batch(book: Notebook) -> list[Act]:
    """A batch whose activations alone are more than the GPU has."""
    shape, parts = book.params.model.architecture, book.params.model.tensor_parallel_size
    per_token = 2 * (4 * shape.hidden_size + 3 * shape.intermediate_size / parts)
    tokens = 2 ** int(1.25 * book.sizing.gpu.total / per_token).bit_length()
    return more_arguments(book, f"--max-num-batched-tokens={tokens}")


def _small_cache(book: Notebook) -> list[Act]:
    """Half of what one request of the longest length needs."""
    needed = book.sizing.kv.bytes_per_token * book.params.model.max_model_len
    return more_arguments(book, f"--kv-cache-memory-bytes={needed // 2}")


def _flag(book: Notebook) -> list[Act]:
    return more_arguments(book, "--disable-log-requests")


def _hasty_probe(book: Notebook) -> list[Act]:
    probe = f"{CONTAINER}.startupProbe"
    return changed_server(book, {f"{probe}.periodSeconds": 1, f"{probe}.failureThreshold": 1})


def _image(book: Notebook, image: str, **more: Any) -> list[Act]:
    return changed_server(book, {f"{CONTAINER}.image": image, **more})


def _wrong_name(book: Notebook) -> list[Act]:
    """The tag without its ``v``, as on the release page."""
    platform = book.params.platform
    name, _, tag = platform.image(platform.images.vllm).rpartition(":")
    return _image(book, f"{name}:{tag[1:] if tag.startswith('v') else tag + '-gpu'}")


def _private(book: Notebook) -> list[Act]:
    """A registry that wants a login, and a Secret with a password of last year."""
    registry = str(book.params.platform.rehearsal.private_registry)
    auth = {"username": "robot", "password": "expired", "auth": base64.b64encode(b"robot:expired").decode()}
    config = json.dumps({"auths": {registry.split("/")[0]: auth}})
    secret: Object = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": LOGIN, "namespace": book.namespace},
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": base64.b64encode(config.encode()).decode()},
    }
    image = f"{registry}/{book.params.platform.images.vllm}"
    return [Create(secret), *_image(book, image, **{f"{POD}.imagePullSecrets": [{"name": LOGIN}]})]


def _limited(book: Notebook) -> list[Act]:
    return _image(book, f"{book.params.platform.rehearsal.limited_registry}/{book.params.platform.images.vllm}")


def _without(field: str) -> Callable[[Notebook], str]:
    """What the platform lacks where a field of ``rehearsal`` is empty."""
    return lambda book: "" if getattr(book.params.platform.rehearsal, field) else f"rehearsal.{field}"


DRILLS = (
    Drill(
        name="host-oom",
        title="Killed for host memory",
        symptom=_STUCK,
        hints=(
            "kubectl -n {ns} get pods: how often has the new one restarted? kubectl describe pod says how it ended.",
            "Exit code 137 and OOMKilled: the kernel did it. What is the container's memory limit?",
            "An idle server's processes hold more than the limit of 2Gi. GPU memory plays no part in it.",
        ),
        solution=(
            f"kubectl -n {{ns}} set resources deployment/{deploy.DEPLOYMENT}"
            " --requests=memory={memory} --limits=memory={memory}",
        ),
        notebook="04_deploy_vllm",
        acts=_little_memory,
        shows=FAILING,
        mended=SERVED,
    ),
    Drill(
        name="cuda-oom",
        title="Out of GPU memory",
        symptom=_STUCK,
        hints=(
            _LOG,
            "It is torch that has no memory left, before the KV cache was even laid out. What grows with a batch?",
            "--max-num-batched-tokens is so large that one batch's activations don't fit beside the weights.",
        ),
        solution=(_UNDO,),
        notebook="00_preflight",
        acts=_huge_batch,
        shows=FAILING,
        mended=SERVED,
    ),
    Drill(
        name="kv-cache-too-small",
        title="Not one request fits the cache",
        symptom=_STUCK,
        hints=(
            _LOG,
            "It compares what the longest request needs with what the cache has. Who set the cache's size?",
            "--kv-cache-memory-bytes leaves less than one request of --max-model-len needs.",
        ),
        solution=(_UNDO,),
        notebook="00_preflight",
        acts=_small_cache,
        shows=FAILING,
        mended=SERVED,
    ),
    Drill(
        name="bad-flag",
        title="A flag that is gone",
        symptom=_STUCK,
        hints=(
            "kubectl -n {ns} get pods: CrashLoopBackOff, within a second of each start. With which exit code?",
            _LOG,
            "--disable-log-requests is in many guides, and not in this version: an unknown flag ends the server.",
        ),
        solution=(_UNDO,),
        notebook="04_deploy_vllm",
        acts=_flag,
        shows=FAILING,
        mended=SERVED,
    ),
    Drill(
        name="slow-load-killed",
        title="Killed while it loads",
        symptom=_STUCK + " Its log shows no error at all.",
        hints=(
            "The server doesn't end by itself: kubectl -n {ns} describe pod shows who ends it, and why.",
            "How long does a load take, and how long does the startup probe wait (periodSeconds x failureThreshold)?",
            "The startup probe gives up after one second; the kubelet then kills a server that is still loading.",
        ),
        solution=(
            f"kubectl -n {{ns}} patch deployment {deploy.DEPLOYMENT} --type=json -p '["
            '{{"op": "replace", "path": "/spec/template/spec/containers/0/startupProbe/failureThreshold",'
            ' "value": {probe_failures}}}]\'',
        ),
        notebook="04_deploy_vllm",
        acts=_hasty_probe,
        shows=goals.told("Killing", "failed startup probe", "the new server wasn't killed yet"),
        mended=SERVED,
    ),
    Drill(
        name="image-name",
        title="An image that doesn't exist",
        symptom=_STUCK,
        hints=(
            "kubectl -n {ns} get pods: it never started. kubectl describe pod says why.",
            "The registry answers `not found`: compare name and tag with the old version's, letter by letter.",
            "The tag lacks its v.",
        ),
        solution=(f"kubectl -n {{ns}} set image deployment/{deploy.DEPLOYMENT} vllm={{image}}",),
        notebook="04_deploy_vllm",
        acts=_wrong_name,
        shows=FAILING,
        mended=SERVED,
    ),
    Drill(
        name="image-auth",
        title="An image that wants a login",
        symptom=_STUCK,
        hints=(
            "kubectl -n {ns} get pods: it never started. kubectl describe pod says why: not found, or not allowed?",
            f"The registry wants a login. The pod shows it one: spec.imagePullSecrets, Secret {LOGIN}.",
            "The Secret's password has expired. The platform's file names the account; the kubelet tries again.",
        ),
        solution=(
            f"kubectl -n {{ns}} create secret docker-registry {LOGIN} --docker-server={{registry}}"
            " --docker-username=$REGISTRY_USER --docker-password=$REGISTRY_PASSWORD"
            " --dry-run=client -o yaml | kubectl apply -f -",
        ),
        notebook="04_deploy_vllm",
        acts=_private,
        shows=FAILING,
        mended=SERVED,
        lacks=_without("private_registry"),
    ),
    Drill(
        name="image-rate-limit",
        title="Too many pulls",
        symptom=_STUCK,
        hints=(
            "kubectl -n {ns} get pods: it never started. kubectl describe pod says why.",
            "429 isn't 401: the registry knows the image, and has had enough of anonymous pulls from this address.",
            "Pull from a registry that doesn't count (the old version did), or log in with imagePullSecrets.",
        ),
        solution=(f"kubectl -n {{ns}} set image deployment/{deploy.DEPLOYMENT} vllm={{image}}",),
        notebook="04_deploy_vllm",
        acts=_limited,
        shows=FAILING,
        mended=SERVED,
        lacks=_without("limited_registry"),
    ),
)
