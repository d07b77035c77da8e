"""The Lease that a run takes before it changes something, so that two runs never work on one cluster at once."""

from __future__ import annotations

from ..cluster import Rule, rules
from ..cluster.lease import NAME
from ..params import Platform

_READING = ("get", "list", "watch")
_ASKING = ("proxy", "portforward")


def changes(wanted: list[Rule]) -> bool:
    """Whether something may be changed with these rules. A question to a server changes nothing."""
    return any(rule.verb not in _READING and rule.subresource not in _ASKING for rule in wanted)


def lock(platform: Platform) -> list[Rule]:
    """To take, renew and give back the Lease; its namespace is made when it isn't there yet."""
    namespace, group = platform.namespace, "coordination.k8s.io"
    return [
        *rules("get create patch", "namespaces"),
        *rules("create", "leases", group=group, namespace=namespace),
        *rules("get list watch update delete", "leases", group=group, namespace=namespace, names=NAME),
    ]
