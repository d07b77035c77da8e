"""Flux: where the tree is (GitRepository), and one Kustomization or HelmRelease per layer, each after the one before.

A Job's template can't be changed. Flux makes it anew where it differs (``force: enabled`` on the Job alone: with
``spec.force`` a claim would be made anew, too, and lose the weights). Helm can't, so its Job is a hook there, made anew
by every upgrade; the prefetch finds its marker and downloads nothing twice.
"""

from __future__ import annotations

from typing import Any

from ..cluster import Object, get_in
from . import text
from .argocd import CLAIM_KINDS, annotation, place
from .contents import Contents
from .tree import HEADER, Request

NAMESPACE = "flux-system"
SOURCE = "vllm"
_JOB = {"kustomize.toolkit.fluxcd.io/force": "enabled"}
_CLAIM = {"kustomize.toolkit.fluxcd.io/prune": "disabled"}
HELM_JOB = {"helm.sh/hook": "post-install,post-upgrade", "helm.sh/hook-delete-policy": "before-hook-creation"}
HELM_CLAIM = {"helm.sh/resource-policy": "keep"}
_MARGIN_SECONDS = 300


def kustomize_files(request: Request, platform: Contents) -> dict[str, str]:
    """The GitRepository and a Kustomization per layer."""
    items, before = [_source(request)], ""
    for layer in platform.layers:
        spec: Object = {
            "interval": "10m",
            "retryInterval": "1m",
            "timeout": f"{_seconds(platform, layer)}s",
            "sourceRef": {"kind": "GitRepository", "name": SOURCE},
            "path": f"./{place(request, f'overlays/{platform.platform}/{layer}')}",
            "prune": True,
            "wait": True,
        }
        kinds = {item.object["kind"] for item in platform.of(layer)}
        annotate = [annotation("Job", _JOB)] if "Job" in kinds else []
        annotate += [annotation(CLAIM_KINDS, _CLAIM)] if kinds & set(CLAIM_KINDS.split("|")) else []
        spec |= {"patches": annotate} if annotate else {}
        item = _item("kustomize.toolkit.fluxcd.io/v1", "Kustomization", platform, layer, spec, before)
        items.append(item)
        before = item["metadata"]["name"]
    return _files(platform, items)


def helm_files(request: Request, platform: Contents) -> dict[str, str]:
    """The GitRepository and a HelmRelease of the chart per layer."""
    items, before = [_source(request)], ""
    names = ("values.yaml", f"values-{platform.platform}.yaml")
    for layer in platform.layers:
        chart = {
            "chart": f"./{place(request)}",
            "reconcileStrategy": "Revision",
            "sourceRef": {"kind": "GitRepository", "name": SOURCE},
            "valuesFiles": [place(request, name) for name in names],
        }
        # a claim may wait for its first pod, and that is the hook's: so Helm waits for the hook, not for the claim
        wait = {"disableWait": True} if layer == "weights" else {}
        spec = {
            "interval": "10m",
            "timeout": f"{_seconds(platform, layer)}s",
            "releaseName": f"vllm-{layer}",
            "chart": {"spec": chart},
            "install": {**wait, "remediation": {"retries": 3}},
            "upgrade": {**wait, "remediation": {"retries": 3}},
            "values": {
                "layers": {each: each == layer for each in platform.layers},
                "annotations": {"job": HELM_JOB, "claims": HELM_CLAIM},
            },
        }
        item = _item("helm.toolkit.fluxcd.io/v2", "HelmRelease", platform, layer, spec, before)
        items.append(item)
        before = item["metadata"]["name"]
    return _files(platform, items)


def _source(request: Request) -> Object:
    return {
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "GitRepository",
        "metadata": {"name": SOURCE, "namespace": NAMESPACE},
        "spec": {"interval": "5m", "url": request.repo, "ref": {"branch": request.revision}},
    }


def _item(api_version: str, kind: str, platform: Contents, layer: str, spec: Object, before: str) -> Object:
    after = {"dependsOn": [{"name": before}]} if before else {}
    meta = {"name": f"vllm-{platform.platform}-{layer}", "namespace": NAMESPACE}
    return {"apiVersion": api_version, "kind": kind, "metadata": meta, "spec": {**after, **spec}}


def _seconds(platform: Contents, layer: str) -> int:
    """How long the layer's slowest object may take, by its own deadline."""
    fields = ("spec.activeDeadlineSeconds", "spec.progressDeadlineSeconds")
    deadlines: list[Any] = [get_in(item.object, path, 0) for item in platform.of(layer) for path in fields]
    return max(deadlines, default=0) + _MARGIN_SECONDS


def _files(platform: Contents, items: list[Object]) -> dict[str, str]:
    return {f"flux/{platform.platform}.yaml": text.comment(HEADER) + text.documents(items)}
