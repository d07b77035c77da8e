"""Where the scheduler would let a pod go: node selector, required node affinity, taints.

As documented for the filters NodeAffinity, TaintToleration and NodeUnschedulable of kube-scheduler.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ... import cluster as k8s
from ...cluster import Object, get_in

_REQUIRED = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
#: Set by the node controller and by cordoning: they say how the node is, not whom it is for.
_CONDITION_TAINTS = "node.kubernetes.io/"


@dataclass(frozen=True)
class Taint:
    """A taint, written as kubectl writes it."""

    key: str
    value: str
    effect: str

    def __str__(self) -> str:
        return f"{self.key}{'=' + self.value if self.value else ''}:{self.effect}"


def selected(pod: Object, node: Object) -> bool:
    """Whether the node has the labels that the pod asks for."""
    labels = node["metadata"].get("labels") or {}
    wanted: Mapping[str, str] = get_in(pod, "spec.nodeSelector") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    terms = get_in(pod, _REQUIRED) or ()
    return not terms or any(_term(term, labels, node["metadata"]["name"]) for term in terms)


def _term(term: Object, labels: Mapping[str, str], name: str) -> bool:
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False  # an empty term selects nothing
    return all(_expression(each, labels.get(each["key"])) for each in expressions) and all(
        _expression(each, name) for each in fields
    )


def _expression(expression: Object, value: str | None) -> bool:
    operator, values = expression["operator"], list(expression.get("values") or ())
    match operator:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            try:
                left, right = int(value or ""), int(values[0])
            except (ValueError, IndexError):
                return False
            return left > right if operator == "Gt" else left < right
    return False


def labels_wanted(pod: Object) -> dict[str, str]:
    """Labels that would satisfy what a pod asks for, as far as single labels can (In, Exists)."""
    found = dict(get_in(pod, "spec.nodeSelector") or {})
    for term in get_in(pod, _REQUIRED) or ():
        for each in term.get("matchExpressions") or ():
            if each["operator"] in ("In", "Exists"):
                found.setdefault(each["key"], next(iter(each.get("values") or ()), "true"))
    return found


def described(pod: Object) -> str:
    """What a pod asks of a node's labels, in short."""
    parts = [f"{key}={value}" for key, value in (get_in(pod, "spec.nodeSelector") or {}).items()]
    for term in get_in(pod, _REQUIRED) or ():
        for each in term.get("matchExpressions") or ():
            parts.append(f"{each['key']} {each['operator']} {'|'.join(each.get('values') or ())}".strip())
    return ", ".join(parts) or "none"


def refusing(pod: Object, node: Object) -> list[Taint]:
    """Taints that keep the pod off, but for those that only say how the node is."""
    tolerations = get_in(pod, "spec.tolerations") or ()
    taints = [Taint(each["key"], each.get("value", ""), each["effect"]) for each in node["spec"].get("taints") or ()]
    return [
        taint
        for taint in taints
        if taint.effect in ("NoSchedule", "NoExecute")
        and not taint.key.startswith(_CONDITION_TAINTS)
        and not any(_tolerates(toleration, taint) for toleration in tolerations)
    ]


def _tolerates(toleration: Object, taint: Taint) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.effect:
        return False
    exists = toleration.get("operator", "Equal") == "Exists"
    if toleration.get("key") and toleration["key"] != taint.key:
        return False
    if not toleration.get("key") and not exists:
        return False
    return bool(exists or toleration.get("value", "") == taint.value)


def ready(node: Object) -> bool:
    """Whether the node's kubelet reports that it is well."""
    return k8s.is_true(node, "Ready")


def takes_pods(node: Object) -> bool:
    """Whether the node is neither cordoned nor unwell."""
    return ready(node) and not node["spec"].get("unschedulable")
