"""May we? Asked of the API server before a step begins, by SelfSubjectAccessReview."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from .client import Cluster
from .objects import Object

#: Reviews under way at once.
_AT_ONCE = 8


@dataclass(frozen=True, order=True)
class Rule:
    """One permission, as RBAC knows it. ``namespace`` empty: in the whole cluster; ``name``: of that object only."""

    verb: str
    resource: str
    group: str = ""
    namespace: str = ""
    subresource: str = ""
    name: str = ""

    def __str__(self) -> str:
        what = self.resource + (f"/{self.subresource}" if self.subresource else "")
        what += f".{self.group}" if self.group else ""
        what += f" {self.name}" if self.name else ""
        return f"{self.verb} {what}" + (f" in {self.namespace}" if self.namespace else "")


def rules(verbs: str, resources: str, *, group: str = "", namespace: str = "", names: str = "") -> list[Rule]:
    """Rules for all combinations: ``rules("get list", "pods pods/log", namespace="llm")``.

    Args:
        names: only objects of these names. Creation can't be limited so: a new object has no name yet when it is asked.
    """
    found = []
    for resource in resources.split():
        name, _, sub = resource.partition("/")
        found += [
            Rule(verb, name, group, namespace, sub, only) for verb in verbs.split() for only in names.split() or ("",)
        ]
    return found


def refused(cluster: Cluster, wanted: Iterable[Rule]) -> dict[Rule, str]:
    """The rules that we don't have, in order, each with the server's reason (often empty).

    Each rule is asked once, several at a time: a preflight asks hundreds, of a server that may be an ocean away.
    """
    rules = sorted(set(wanted))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = pool.map(lambda rule: _review(cluster, rule), rules)
        return {
            rule: answer.get("reason", "")
            for rule, answer in zip(rules, answers, strict=True)
            if not answer.get("allowed")
        }


def _review(cluster: Cluster, rule: Rule) -> Object:
    attributes = {
        "verb": rule.verb,
        "resource": rule.resource,
        "group": rule.group,
        "namespace": rule.namespace,
        "subresource": rule.subresource,
        "name": rule.name,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    status: Object = cluster.json("POST", path, body=review, doing=f"Asking whether we may {rule}")["status"]
    return status
