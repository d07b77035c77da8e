"""To put the nightly verification in place, and to grant its account what it needs: nobody can give what they lack."""

from __future__ import annotations

from collections.abc import Iterable

from ..cluster import Rule, rules
from ..params import Platform
from .rights import RBAC
from .roles import namespaces
from .table import permissions

_WRITE = "get create patch"


def schedule(platform: Platform, granted: Iterable[str]) -> list[Rule]:
    """Rights of whoever schedules.

    Args:
        granted: notebooks whose roles are made as well.
    """
    namespace, steps = platform.namespace, list(granted)
    found = [
        *rules(_WRITE, "namespaces"),
        *rules(_WRITE, "serviceaccounts configmaps persistentvolumeclaims", namespace=namespace),
        *rules(_WRITE, "cronjobs", group="batch", namespace=namespace),
        *rules("get", "leases", group="coordination.k8s.io", namespace=namespace),
    ]
    for step in steps:
        found += permissions(step, platform)
    if steps:
        found += rules(_WRITE, "clusterroles clusterrolebindings", group=RBAC)
    for space in namespaces(steps, platform):
        found += rules(_WRITE, "roles rolebindings", group=RBAC, namespace=space)
    return found
