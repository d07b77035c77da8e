"""API versions that are deprecated or gone. The witnesses: who wrote an object, what was applied, what was asked for.

The server converts what it stores, so that an object read today shows no trace of its manifest's version; its managed
fields and kubectl's last-applied annotation do. Whether a version is deprecated, the server says by itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from ...cluster import API_VERSIONS, Object
from ..findings import Evidence, Finding
from ..snapshot import Snapshot
from .common import about, called, seen

_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def versions(snap: Snapshot) -> Iterator[Finding]:
    """Objects of the namespace that are written in an old version, and old versions that are still asked for."""
    if snap.served:
        for kind, items in snap.objects.items():
            if kind not in API_VERSIONS:
                continue
            for item in items:
                if found := _object(snap, item):
                    yield found
    for version, resource, removed in snap.metrics.deprecated:
        what = f"{resource} of {version}"
        evidence = (
            Evidence("metric", "API server", f"apiserver_requested_deprecated_apis: {what}, removed in {removed}"),
        )
        cause = f"Somebody asks for {what}, which is gone in Kubernetes {removed}. It may be any client of the cluster."
        fix = (snap.context.kubectl("get --raw /metrics", None) + " | grep apiserver_requested_deprecated_apis",)
        yield Finding("deprecated-api", "info", what, cause, evidence, fix)


def _object(snap: Snapshot, item: Object) -> Finding | None:
    evidence, words = [], []
    for manager, version in _writers(item):
        gone = version not in snap.served
        said = snap.warnings.get((version, item["kind"]), "")
        if gone or said:
            evidence.append(seen("object", item, f"{manager}: {version}" + (f" ({said})" if said else " (not served)")))
            words.append(said or f"{version} isn't served by this cluster any more")
    if not evidence:
        return None
    cause = f"Its manifest is written in an old API version: {'; '.join(dict.fromkeys(words))}."
    target = API_VERSIONS[item["kind"]]
    fix = (
        f"write apiVersion: {target} in the manifest of {item['kind']} {item['metadata']['name']}, and apply it",
        f"kubectl convert -f MANIFEST --output-version {target}  (the kubectl-convert plugin)",
    )
    return Finding("deprecated-api", "warning", called(item), cause, tuple(evidence), fix, about(item))


def _writers(item: Object) -> list[tuple[str, str]]:
    """Who wrote the object, in which version."""
    meta = item["metadata"]
    found = [
        (f"field manager {each.get('manager', '')}", each.get("apiVersion", ""))
        for each in meta.get("managedFields") or ()
    ]
    try:
        applied = json.loads((meta.get("annotations") or {}).get(_APPLIED, "{}"))
    except ValueError:
        applied = {}
    if isinstance(applied, dict) and applied.get("apiVersion"):
        found.append(("annotation last-applied-configuration", str(applied["apiVersion"])))
    return list(dict.fromkeys(pair for pair in found if pair[1]))
