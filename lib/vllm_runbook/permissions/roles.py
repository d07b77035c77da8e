"""From a notebook's permissions to RBAC objects: one set per notebook, with exactly these rights."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from ..cluster import Object, Rule
from ..params import Platform
from .rights import RBAC
from .table import permissions

_API = f"{RBAC}/v1"
#: Not ``managed-by``: teardown must not take an administrator's roles away.
LABELS = {"app.kubernetes.io/part-of": "vllm-runbook"}


def account(name: str, namespace: str) -> Object:
    """A ServiceAccount."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": name, "namespace": namespace, "labels": LABELS},
    }


def roles(step: str, platform: Platform, name: str, account_name: str, account_namespace: str) -> list[Object]:
    """Role and binding in each namespace, ClusterRole and binding for the rest.

    Args:
        step: the notebook whose permissions they grant.
        name: of all of them.
        account_name, account_namespace: the ServiceAccount that gets them.
    """
    by_namespace: dict[str, set[Rule]] = defaultdict(set)
    for rule in permissions(step, platform):
        by_namespace[rule.namespace].add(rule)
    subject = {"kind": "ServiceAccount", "name": account_name, "namespace": account_namespace}
    found = []
    for namespace, wanted in sorted(by_namespace.items()):
        meta = {"name": name, **({"namespace": namespace} if namespace else {}), "labels": LABELS}
        kind = "Role" if namespace else "ClusterRole"
        found += [
            {"apiVersion": _API, "kind": kind, "metadata": meta, "rules": policy_rules(wanted)},
            {
                "apiVersion": _API,
                "kind": f"{kind}Binding",
                "metadata": meta,
                "roleRef": {"apiGroup": RBAC, "kind": kind, "name": name},
                "subjects": [subject],
            },
        ]
    return found


def policy_rules(wanted: Iterable[Rule]) -> list[Object]:
    """The rules of a Role: resources with the same verbs together, nothing granted that isn't wanted."""
    verbs: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for rule in wanted:
        resource = f"{rule.resource}/{rule.subresource}" if rule.subresource else rule.resource
        verbs[rule.group, rule.name, resource].add(rule.verb)
    resources: dict[tuple[str, str, tuple[str, ...]], list[str]] = defaultdict(list)
    for (group, name, resource), words in sorted(verbs.items()):
        resources[group, name, tuple(sorted(words))].append(resource)
    return [
        {"apiGroups": [group], "resources": found, "verbs": list(words), **({"resourceNames": [name]} if name else {})}
        for (group, name, words), found in sorted(resources.items())
    ]


def makes_administrator(step: str, platform: Platform) -> bool:
    """Whether who has these rights can give themselves any other: ``escalate`` on roles, as to install KEDA."""
    return any(rule.verb == "escalate" for rule in permissions(step, platform))


def namespaces(steps: Iterable[str], platform: Platform) -> list[str]:
    """Namespaces that the roles are in."""
    return sorted({rule.namespace for step in steps for rule in permissions(step, platform)} - {""})
