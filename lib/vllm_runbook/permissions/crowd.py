"""The crowd that KWOK plays."""

from __future__ import annotations

from ..cluster import Rule, rules
from ..params import Platform
from .rights import RBAC, removal


def crowd(platform: Platform) -> list[Rule]:
    """A crowd of KWOK, lists of pods, and objects made and removed again."""
    if not platform.rehearsal.crowd:
        return rules("list", "pods nodes")
    namespace = "crowd"
    return [
        *remove_crowd(platform),
        *rules("create patch", "namespaces nodes"),
        *rules("create patch", "clusterroles clusterrolebindings", group=RBAC),
        *rules("create patch", "serviceaccounts pods configmaps", namespace=namespace),
        *rules("create patch", "deployments", group="apps", namespace=namespace),
        *rules("get", "pods/log", namespace=namespace),
        *rules("list watch", "events", namespace=namespace),
        # helm's record of what it installed
        *rules("get list create update deletecollection", "secrets", namespace=namespace),
        # what KWOK gets: nobody can give a permission that they don't have
        *rules("get list watch delete", "pods"),
        *rules("patch", "nodes/status pods/status"),
        *rules("get list watch create update patch", "leases", group="coordination.k8s.io"),
    ]


def remove_crowd(platform: Platform) -> list[Rule]:
    if not platform.rehearsal.crowd:
        return []
    namespace, verbs = "crowd", "get list watch delete"
    return [
        *rules(verbs, "namespaces"),
        *rules(f"{verbs} deletecollection", "nodes"),
        *rules(f"{verbs} deletecollection", "pods configmaps", namespace=namespace),
        *rules(verbs, "serviceaccounts", namespace=namespace),
        *rules(verbs, "deployments", group="apps", namespace=namespace),
        *rules(verbs, "clusterroles clusterrolebindings", group=RBAC),
        *removal(namespace),
    ]
