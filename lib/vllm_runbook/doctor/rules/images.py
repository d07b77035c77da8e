"""Images that can't be pulled: a wrong name, no right to it, too many pulls, or a registry that isn't reached.

The words are containerd's, as the kubelet passes them on in ``state.waiting.message`` and in the event Failed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...cluster import Object, get_in
from ..findings import Finding
from ..snapshot import Snapshot, container_of, over, statuses
from .common import event, keys, seen, workload

_PULLING = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError")
#: In this order: a registry that limits also says "denied" at times, and one that refuses also "not found".
_CLASSES = (
    ("image-rate-limit", re.compile(r"\b429\b|toomanyrequests|too many requests|rate ?limit", re.I)),
    ("image-auth", re.compile(
        r"\b401\b|\b403\b|unauthorized|forbidden|pull access denied|access denied|authorization failed|"
        r"no basic auth credentials|authentication required|insufficient_scope|failed to authorize", re.I)),
    ("image-name", re.compile(
        r"not found|manifest unknown|name unknown|\b404\b|invalid reference format|couldn't parse image|"
        r"InvalidImageName|repository does not exist|no match for platform", re.I)),
    ("image-registry", re.compile(
        r"dial tcp|i/o timeout|no such host|connection refused|connection reset|TLS handshake|x509|"
        r"\b50[0234]\b|deadline exceeded|EOF", re.I)),
)  # fmt: skip
_CAUSES = {
    "image-rate-limit": "The registry answers 429 Too Many Requests to {host}: this node's address, or the account, "
    "has pulled as often as it may.",
    "image-auth": "The registry {host} refuses to hand out {image}: the pod brings no, or wrong, credentials. "
    "Docker Hub says the same of a repository that doesn't exist.",
    "image-name": "There is no image {image} in {host}: a typo in its name, or a tag that was never pushed.",
    "image-registry": "The node doesn't get {image} from {host}: no network, no DNS, a proxy, or the registry is down.",
}


def pulls(snap: Snapshot) -> Iterator[Finding]:
    """Containers whose image can't be had."""
    for pod in snap.all("Pod"):
        if over(pod):
            continue
        for status in statuses(pod):
            waiting = get_in(status, "state.waiting", {})
            if waiting.get("reason") in _PULLING:
                yield _finding(snap, pod, status, waiting)


def _finding(snap: Snapshot, pod: Object, status: Object, waiting: Object) -> Finding:
    image = str(container_of(pod, status["name"]).get("image") or status.get("image", ""))
    host = image.split("/")[0] if "." in image.split("/")[0] or ":" in image.split("/")[0] else "docker.io"
    message = f"{waiting['reason']}: {waiting.get('message', '')}"
    # An older kubelet's back-off message has lost the reason; the event of the attempt has kept it.
    failed = [each for each in snap.events(pod, "Failed") if image in each.get("message", "")]
    said = [message, *(each["message"] for each in reversed(failed))]
    code = next(filter(None, (classify(text, image) for text in said)), "")
    evidence = [seen("object", pod, f"container {status['name']}: {message}")]
    evidence += [event(pod, each) for each in failed[-1:]]
    cause = _CAUSES.get(code, "The image {image} can't be pulled from {host}; see the runtime's words.")
    return Finding(
        code or "image-registry",
        "error",
        workload(pod),
        cause.format(image=image, host=host),
        tuple(evidence),
        _fix(snap, code, image, host),
        keys(pod),
    )


def classify(message: str, image: str = "") -> str:
    """The code that a runtime's message stands for; empty when it says nothing known.

    The image's own name is left out: one may be called ``ratelimit:v404``.
    """
    words = message.replace(image, "") if image else message
    return next((code for code, pattern in _CLASSES if pattern.search(words)), "")


def _fix(snap: Snapshot, code: str, image: str, host: str) -> tuple[str, ...]:
    context = snap.context
    secret = context.kubectl(f"create secret docker-registry pull --docker-server={host} --docker-username=… ")
    account = context.kubectl('patch serviceaccount vllm -p \'{"imagePullSecrets": [{"name": "pull"}]}\'')
    mirror = context.run("04", "images.mirror=YOUR-MIRROR")
    return {
        "image-name": (
            context.run("04", "images.vllm=vllm/vllm-openai:v0.32.0") + "  (a tag that the registry lists)",
            f"crane ls {image.partition('@')[0].rpartition(':')[0] or image}  (the tags that there are)",
        ),
        "image-auth": (secret + "--docker-password=…", account),
        "image-rate-limit": (mirror, secret + "--docker-password=…", account),
    }.get(code, (mirror, context.kubectl("get events --field-selector reason=Failed")))
