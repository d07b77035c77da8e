"""Proof that what protects the servers is there: read from the cluster, and tried (docs/security.md)."""

from __future__ import annotations

from typing import Any

from .. import cluster as k8s
from ..cluster import ApiError, Object, Ref
from ..notebook import Notebook
from ..tables import Table
from . import deploy, protection

_ENFORCE = "metadata.labels[pod-security.kubernetes.io/enforce]"


def prove(book: Notebook) -> Table:
    """API key, NetworkPolicy, Pod Security and the pods' own restrictions; notes a check for each."""
    found = (_api_key(book), _policy(book), _level(book), _pods(book))
    return Table(("barrier", "now"), [row for row in found if row])


def _api_key(book: Notebook) -> tuple[str, str]:
    if not book.params.platform.api_key.enabled:
        return "API key", "none: api_key.enabled is false"
    said = "200"
    try:
        deploy.server(book, with_key=False).text("v1/models")
    except ApiError as error:
        said = f"{error.code} {error.message}"
    names = {model["id"] for model in deploy.server(book).json("v1/models")["data"]}
    book.check("/v1 refuses a caller without the API key (401), and answers one with it", "401" in said and bool(names))
    return "API key", f"without it: {said}; with it: {', '.join(sorted(names))}"


def _policy(book: Notebook) -> tuple[str, str]:
    if not book.params.platform.network.policies:
        return "NetworkPolicy", "none: network.policies is false"
    (item,) = protection.server_policy(book.params.platform)
    live = book.cluster.find(Ref("NetworkPolicy", item["metadata"]["name"], book.namespace)) or {}
    peers: list[Object] = k8s.get_in(live, "spec.ingress[0].from", [])
    book.check("a NetworkPolicy names who reaches the servers' port", bool(peers))
    return "NetworkPolicy", "from " + ", ".join(map(_peer, peers)) + "; enforced if the network plugin does so"


def _peer(peer: Object) -> str:
    if cidr := k8s.get_in(peer, "ipBlock.cidr"):
        return str(cidr)
    pods = k8s.get_in(peer, "podSelector.matchLabels", {})
    namespaces = k8s.get_in(peer, "namespaceSelector.matchLabels", {})
    who = f"pods {', '.join(pods.values())}" if pods else "all pods"
    return who + (f" of {', '.join(namespaces.values())}" if namespaces else " of this namespace")


def _level(book: Notebook) -> tuple[str, str]:
    wanted, why = protection.pod_security(book.params.platform)
    namespace = book.cluster.get(Ref("Namespace", book.namespace))
    live = k8s.get_in(namespace, _ENFORCE, "none")
    if not k8s.is_ours(namespace):
        return "Pod Security level", f"{live}: the namespace was there before, and stays as it is; {wanted} would do"
    book.check(f"the namespace enforces the Pod Security level {wanted}", live == wanted)
    return "Pod Security level", f"{live}: {why}"


def _pods(book: Notebook) -> tuple[str, str]:
    pods = list(book.cluster.list("Pod", book.namespace, labels=deploy.SERVERS))
    loose = [pod["metadata"]["name"] for pod in pods if not all(_restrictions(pod["spec"]).values())]
    words = "no root, read-only root file system, no capabilities, seccomp, no service account token"
    book.check(f"server pods: {words}", bool(pods) and not loose, ", ".join(loose))
    return "server pods", words if not loose else f"not so: {', '.join(loose)}"


def _restrictions(spec: Object) -> dict[str, Any]:
    container = spec["containers"][0]
    own, around = container.get("securityContext") or {}, spec.get("securityContext") or {}
    tokens = [
        volume
        for volume in spec.get("volumes", ())
        if any("serviceAccountToken" in source for source in k8s.get_in(volume, "projected.sources", ()))
    ]
    return {
        "no root": around.get("runAsNonRoot") and around.get("runAsUser"),
        "read-only root": own.get("readOnlyRootFilesystem"),
        "no capabilities": k8s.get_in(own, "capabilities.drop") == ["ALL"],
        "seccomp": k8s.get_in(around, "seccompProfile.type") == "RuntimeDefault",
        "no token": not tokens,
    }
