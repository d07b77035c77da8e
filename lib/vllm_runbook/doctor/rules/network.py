"""NetworkPolicies that keep out who must come in. Whether the network plugin enforces them, no object tells."""

from __future__ import annotations

from collections.abc import Iterator

from ...cluster import Object, get_in
from ..findings import Finding
from ..snapshot import Snapshot
from .common import about, called, labelled, seen

_NAME = "kubernetes.io/metadata.name"


def policies(snap: Snapshot) -> Iterator[Finding]:
    """Services whose pods nobody reaches, or Prometheus doesn't."""
    for service in snap.all("Service"):
        chosen = service["spec"].get("selector") or {}
        pods = snap.selected(chosen)
        isolating = [each for each in snap.all("NetworkPolicy") if pods and _isolates(each, pods[0])]
        if not isolating:
            continue
        peers = [peer for each in isolating for peer in _peers(each)]
        metrics = snap.context.metrics_namespace
        if not peers:
            who = "anybody"
        elif _is_vllm(snap, chosen) and not any(_may_be(peer, metrics, snap.context.namespace) for peer in peers):
            who = f"Prometheus (namespace {metrics})"
        else:
            continue
        names = ", ".join(each["metadata"]["name"] for each in isolating)
        evidence = tuple(
            seen("object", each, f"ingress: {each['spec'].get('ingress') or 'none'}") for each in isolating
        )
        cause = f"No rule of NetworkPolicy {names} lets {who} reach its pods: such connections time out."
        fix = (
            snap.context.kubectl(f"describe networkpolicy {isolating[0]['metadata']['name']}"),
            snap.context.run("04"),
        )
        yield Finding("policy-blocks", "warning", called(service), cause, evidence, fix, about(service))


def _is_vllm(snap: Snapshot, labels: Object) -> bool:
    """Whether the Service is one of model servers, which Prometheus is to scrape."""
    templates = [each["spec"]["template"] for each in snap.all("Deployment") if each["spec"].get("template")]
    return any("vllm" in str(each["spec"]["containers"]) for each in templates if labelled(each, labels))


def _isolates(policy: Object, pod: Object) -> bool:
    """Whether it governs what reaches the pod; one that selects by expressions is left out of the judgement."""
    selector = policy["spec"].get("podSelector") or {}
    types = policy["spec"].get("policyTypes") or ["Ingress"]
    plain = not selector.get("matchExpressions")
    return plain and "Ingress" in types and labelled(pod, selector.get("matchLabels") or {})


def _peers(policy: Object) -> Iterator[Object]:
    for rule in policy["spec"].get("ingress") or ():
        yield from rule.get("from") or ({},)  # no peers: everybody


def _may_be(peer: Object, namespace: str, own: str) -> bool:
    """Whether a pod of the namespace may be meant; where only its other labels could tell, it may."""
    if "ipBlock" in peer or not peer:
        return True
    if "namespaceSelector" not in peer:
        return namespace == own
    named = get_in(peer, "namespaceSelector.matchLabels", {}).get(_NAME)
    return named in (None, namespace)
