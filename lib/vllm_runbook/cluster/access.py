"""May we? Asked of the API server before a step begins, by SelfSubjectAccessReview."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .client import Cluster


@dataclass(frozen=True, order=True)
class Rule:
    """One permission, as RBAC knows it. ``namespace`` empty: in the whole cluster."""

    verb: str
    resource: str
    group: str = ""
    namespace: str = ""
    subresource: str = ""

    def __str__(self) -> str:
        what = self.resource + (f"/{self.subresource}" if self.subresource else "")
        what += f".{self.group}" if self.group else ""
        return f"{self.verb} {what}" + (f" in {self.namespace}" if self.namespace else "")


def rules(verbs: str, resources: str, *, group: str = "", namespace: str = "") -> list[Rule]:
    """Rules for all combinations: ``rules("get list", "pods pods/log", namespace="llm")``."""
    found = []
    for resource in resources.split():
        name, _, sub = resource.partition("/")
        found += [Rule(verb, name, group, namespace, sub) for verb in verbs.split()]
    return found


def refused(cluster: Cluster, wanted: Iterable[Rule]) -> list[tuple[Rule, str]]:
    """The rules that we don't have, each with the server's reason (often empty)."""
    missing = []
    for rule in sorted(set(wanted)):
        attributes = {
            "verb": rule.verb,
            "resource": rule.resource,
            "group": rule.group,
            "namespace": rule.namespace,
            "subresource": rule.subresource,
        }
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        answer = cluster.json("POST", path, body=review, doing=f"Asking whether we may {rule}")["status"]
        if not answer.get("allowed"):
            missing.append((rule, answer.get("reason", "")))
    return missing
