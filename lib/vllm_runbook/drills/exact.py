"""An object made exactly what it is to be: its fields and who owns them.

A drill must leave no trace. Server-side apply can't do that: it leaves alone what others have set meanwhile, and
what it sets belongs to it from then on.
"""

from __future__ import annotations

from typing import Any

from .. import cluster as k8s
from ..cluster import ApiError, Cluster, Object, Ref

#: What the server gives an object; never sent back.
_SERVERS = (
    "resourceVersion",
    "uid",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)
#: What the Job controller adds to a Job, and refuses in a new one.
_JOBS = ("controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name")


def taken(cluster: Cluster, ref: Ref) -> Object | None:
    """An object as it is now, without its status; None where there is none."""
    item = cluster.find(ref)
    return None if item is None else {key: value for key, value in item.items() if key != "status"}


def put(cluster: Cluster, item: Object) -> None:
    """Make an object what ``item`` is, whatever was done to it since, or make it anew.

    Raises:
        ApiError: the server refuses it.
    """
    ref = k8s.ref_of(item)
    live = cluster.find(ref)
    if live is not None and live["metadata"].get("deletionTimestamp"):
        k8s.wait_gone(cluster, ref, live["metadata"]["uid"])
        live = None
    if live is not None and ref.kind == "Job" and live["metadata"]["uid"] != item["metadata"]["uid"]:
        k8s.delete(cluster, [(ref, live["metadata"]["uid"])])  # a Job's pods can't be changed
        live = None
    if live is None:
        _create(cluster, ref, item)
    else:
        _replace(cluster, ref, item)
    _own_as_before(cluster, ref, item)


def _create(cluster: Cluster, ref: Ref, item: Object) -> None:
    meta = {key: value for key, value in item["metadata"].items() if key not in (*_SERVERS, "managedFields")}
    body = {**item, "metadata": meta}
    if ref.kind == "Job":
        labels = {f"spec.template.metadata.labels[{name}]": None for name in _JOBS}
        body = k8s.changed(body, {"spec.selector": None, **labels})
    path = cluster.path(ref.kind, namespace=ref.namespace, api_version=ref.version)
    cluster.json("POST", path, query={"fieldManager": k8s.MANAGER}, body=body, doing=f"Making {ref} again")


def _replace(cluster: Cluster, ref: Ref, item: Object) -> None:
    path = cluster.path(ref.kind, name=ref.name, namespace=ref.namespace, api_version=ref.version)
    while True:
        live = cluster.get(ref)
        kept = {key: live["metadata"][key] for key in (*_SERVERS, "managedFields") if key in live["metadata"]}
        body = {**item, "metadata": {**item["metadata"], **kept}}
        try:
            cluster.json("PUT", path, query={"fieldManager": k8s.MANAGER}, body=body, doing=f"Setting {ref}")
            return
        except ApiError as error:
            if error.code != 409:  # a controller was faster: once more with what it wrote
                raise


def _own_as_before(cluster: Cluster, ref: Ref, item: Object) -> None:
    """Write the field managers as they were; those of the status are the controllers' own business."""
    live = cluster.get(ref)
    entries = [entry for entry in item["metadata"].get("managedFields", ()) if not entry.get("subresource")]
    entries += [entry for entry in live["metadata"].get("managedFields", ()) if entry.get("subresource")]
    if not entries:
        return
    patch: Any = [{"op": "replace", "path": "/metadata/managedFields", "value": entries}]
    path = cluster.path(ref.kind, name=ref.name, namespace=ref.namespace, api_version=ref.version)
    cluster.json("PATCH", path, body=patch, content="application/json-patch+json", doing=f"Setting {ref}")
