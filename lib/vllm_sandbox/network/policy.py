"""NetworkPolicies: who may connect to whom, decided for every new connection that comes to the proxy.

Evaluated as a network plugin does it: after a Service's address has become a pod's, for the source's egress and the
destination's ingress; a connection that isn't allowed gets no answer. What the node itself does (probes, port-forward,
pods in the host's network) is always allowed, and so are requests that the API server passes on, as on a cluster whose
API server runs on the pods' node. Source: Kubernetes documentation, "Network Policies".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_network
from typing import Any

from vllm_sandbox.kube import Kube, path

Object = dict[str, Any]
Labels = Mapping[str, str]


@dataclass(frozen=True)
class Party:
    """One end of a connection, as policies see it; one outside of all namespaces is known by its address only."""

    ip: str
    namespace: str = ""
    name: str = ""
    labels: Labels = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_pod(self) -> bool:
        return bool(self.namespace)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.is_pod else self.ip

    @classmethod
    def of(cls, pod: Object, ip: str) -> Party:
        meta = pod["metadata"]
        ports = [port for container in pod["spec"]["containers"] for port in container.get("ports", [])]
        named = {port["name"]: port["containerPort"] for port in ports if "name" in port}
        return cls(ip, meta["namespace"], meta["name"], meta.get("labels") or {}, named)


#: Who answers for names: the sandbox's proxy resolves them itself, in place of the cluster's DNS.
DNS = Party("10.96.0.10", "kube-system", "coredns", {"k8s-app": "kube-dns"})


class Policies:
    """The cluster's NetworkPolicies, and the pods that they are about.

    Pods come from the node agent: a pod that nothing here runs has no connections.
    """

    def __init__(self) -> None:
        self._pods: dict[str, Callable[[], Object]] = {}
        self._policies: dict[str, dict[str, Object]] = defaultdict(dict)
        self._namespaces: dict[str, Labels] = {}

    async def follow_policies(self, kube: Kube, synced: Any) -> None:
        """Keep up with NetworkPolicies until cancelled."""
        await kube.follow(path("networking.k8s.io/v1/networkpolicies"), self.policy_event, synced)

    async def follow_namespaces(self, kube: Kube, synced: Any) -> None:
        """Keep up with the labels of namespaces until cancelled."""
        await kube.follow(path("namespaces"), self.namespace_event, synced)

    def policy_event(self, kind: str, policy: Object) -> None:
        """A NetworkPolicy came, changed or went."""
        meta = policy["metadata"]
        if kind == "DELETED":
            self._policies[meta["namespace"]].pop(meta["name"], None)
        else:
            self._policies[meta["namespace"]][meta["name"]] = policy

    def namespace_event(self, kind: str, namespace: Object) -> None:
        """A Namespace came, changed or went."""
        meta = namespace["metadata"]
        if kind == "DELETED":
            self._namespaces.pop(meta["name"], None)
        else:
            self._namespaces[meta["name"]] = meta.get("labels") or {}

    def join(self, loopback: str, pod: Callable[[], Object]) -> None:
        """A pod has this address from now on; ``pod()`` is the object as it is."""
        self._pods[loopback] = pod

    def leave(self, loopback: str) -> None:
        """The address is nobody's any more."""
        self._pods.pop(loopback, None)

    def party(self, loopback: str) -> Party | None:
        """The pod with this address on the loopback."""
        pod = self._pods.get(loopback)
        return Party.of(pod(), f"10.{loopback.partition('.')[2]}") if pod else None

    def refusal(self, source: Party | None, destination: Party, port: int, protocol: str = "TCP") -> str:
        """Why this connection isn't allowed; empty when it is. A source of None is a node or the control plane."""
        if source is None or source == destination:
            return ""
        for direction, subject, peer in (("Egress", source, destination), ("Ingress", destination, source)):
            isolating = [policy for policy in self._policies[subject.namespace].values() if subject.is_pod]
            isolating = [each for each in isolating if _selects(each, subject, direction)]
            allowed = any(
                self._allows(rule, each, direction, peer, destination, port, protocol)
                for each in isolating
                for rule in each["spec"].get(direction.lower()) or ()
            )
            if isolating and not allowed:
                names = ", ".join(sorted(each["metadata"]["name"] for each in isolating))
                return f"{direction.lower()} of {subject}: no rule of NetworkPolicy {names} allows it"
        return ""

    def _allows(
        self, rule: Object, policy: Object, direction: str, peer: Party, destination: Party, port: int, protocol: str
    ) -> bool:
        if not _port_matches(rule.get("ports"), destination, port, protocol):
            return False
        peers = rule.get("from" if direction == "Ingress" else "to")
        return not peers or any(self._is(each, policy["metadata"]["namespace"], peer) for each in peers)

    def _is(self, wanted: Object, namespace: str, peer: Party) -> bool:
        if block := wanted.get("ipBlock"):
            inside = [IPv4Address(peer.ip) in ip_network(each) for each in (block["cidr"], *block.get("except", ()))]
            return inside[0] and not any(inside[1:])
        if not peer.is_pod:
            return False
        if "namespaceSelector" in wanted:
            if not matches(wanted["namespaceSelector"], self._namespaces.get(peer.namespace, {})):
                return False
        elif peer.namespace != namespace:
            return False
        return matches(wanted.get("podSelector") or {}, peer.labels)


def _selects(policy: Object, pod: Party, direction: str) -> bool:
    spec = policy["spec"]
    types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if "egress" in spec else [])]
    return direction in types and matches(spec.get("podSelector") or {}, pod.labels)


def _port_matches(wanted: Iterable[Object] | None, destination: Party, port: int, protocol: str) -> bool:
    if not wanted:
        return True
    for each in wanted:
        if each.get("protocol", "TCP") != protocol:
            continue
        first: int | str | None = each.get("port")
        if isinstance(first, str):
            first = destination.ports.get(first, -1)
        if first is None or int(first) <= port <= int(each.get("endPort", first)):
            return True
    return False


def matches(selector: Object, labels: Labels) -> bool:
    """Whether a label selector picks something with these labels; an empty one picks everything."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_holds(each, labels) for each in selector.get("matchExpressions") or ())


def _holds(expression: Object, labels: Labels) -> bool:
    key, operator = str(expression["key"]), expression["operator"]
    if operator in ("Exists", "DoesNotExist"):
        return (key in labels) is (operator == "Exists")
    values: list[str] = expression.get("values") or []
    return (labels.get(key) in values) is (operator == "In")
