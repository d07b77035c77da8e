"""Evictions: what drains and node autoscalers ask for, and what a disruption budget can refuse."""

from __future__ import annotations

from ..cluster import ApiError, Cluster, Object, ref_of


def evict(cluster: Cluster, pod: Object, *, dry_run: bool = False) -> str:
    """Ask for the eviction of a pod; returns the refusal's words, or nothing.

    Raises:
        ApiError: anything but a refusal by a budget (429).
    """
    ref = ref_of(pod)
    path = cluster.path("Pod", name=ref.name, namespace=ref.namespace) + "/eviction"
    body: Object = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": ref.name, "namespace": ref.namespace},
    }
    if dry_run:
        body["deleteOptions"] = {"dryRun": ["All"]}
    try:
        cluster.json("POST", path, body=body, doing=f"Evicting {ref}")
    except ApiError as error:
        if error.code != 429:
            raise
        return f"{error.code}, {error.causes[0].get('message', '') if error.causes else error.message}"
    return ""
