"""Argo CD: an Application per platform, and the order of its sync.

A Job's template can't be changed. Argo CD deletes and makes it anew where it differs (``Force=true,Replace=true`` on
the Job alone), as this runbook does; the prefetch finds its marker and downloads nothing twice. A PreSync hook wouldn't
do: it would run before the claim and the namespace that it needs.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from ..cluster import Object
from . import text
from .contents import Contents
from .tree import HEADER, Request

#: Lower waves are synced first, and have to be healthy (a Job: complete) before the next begins.
WAVES = {"infrastructure": "-2", "weights": "-1", "serving": "0"}
_WAVE, _OPTIONS = "argocd.argoproj.io/sync-wave", "argocd.argoproj.io/sync-options"
JOB = {_OPTIONS: "Force=true,Replace=true"}
CLAIM = {_OPTIONS: "Prune=false,Delete=false"}
#: A replaced or pruned claim would take the weights with it.
CLAIM_KINDS = "PersistentVolumeClaim|VolumeSnapshot"
_SYNC_OPTIONS = [
    "CreateNamespace=false",
    "ServerSideApply=true",
    "RespectIgnoreDifferences=true",
    "ApplyOutOfSyncOnly=true",
    "PruneLast=true",
]


def place(request: Request, name: str = "") -> str:
    """A directory of the tree as the repository has it."""
    return str(PurePosixPath(request.path) / name)


def kustomize_files(request: Request, platform: Contents) -> dict[str, str]:
    """The Application, and the overlay that adds Argo CD's annotations to the one that everybody uses."""
    folder, resources = f"argocd/{platform.platform}", []
    found = {}
    for layer in platform.layers:
        annotate = [annotation(".*", {_WAVE: WAVES[layer]})]
        kinds = {item.object["kind"] for item in platform.of(layer)}
        annotate += [annotation("Job", JOB)] if "Job" in kinds else []
        annotate += [annotation(CLAIM_KINDS, CLAIM)] if kinds & set(CLAIM_KINDS.split("|")) else []
        document = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [f"../../../overlays/{platform.platform}/{layer}"],
            "patches": annotate,
        }
        found[f"{folder}/{layer}/kustomization.yaml"] = text.comment(HEADER) + text.dump(document)
        resources.append(layer)
    whole = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": resources}
    found[f"{folder}/kustomization.yaml"] = text.comment(HEADER) + text.dump(whole)
    source = {"path": place(request, folder)}
    found[f"argocd/{platform.platform}-application.yaml"] = _file(_application(request, platform, source))
    return found


def helm_files(request: Request, platform: Contents) -> dict[str, str]:
    """The Application of the chart; its values add Argo CD's annotations."""
    layers: Object = {layer: {_WAVE: wave} for layer, wave in WAVES.items()}
    values = {"annotations": {**layers, "job": JOB, "claims": CLAIM}}
    helm = {
        "releaseName": "vllm",
        "valueFiles": ["values.yaml", f"values-{platform.platform}.yaml"],
        "valuesObject": values,
    }
    source = {"path": place(request), "helm": helm}
    return {f"argocd/{platform.platform}-application.yaml": _file(_application(request, platform, source))}


def annotation(kinds: str, annotations: Object) -> Object:
    """A patch of every object of some kinds."""
    patch = {"apiVersion": "any", "kind": "any", "metadata": {"name": "any", "annotations": annotations}}
    return {"target": {"kind": kinds}, "patch": text.dump(patch)}


def _application(request: Request, platform: Contents, source: Object) -> Object:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": f"vllm-{platform.platform}", "namespace": "argocd"},
        "spec": {
            "project": "default",
            "source": {"repoURL": request.repo, "targetRevision": request.revision, **source},
            "destination": {"server": "https://kubernetes.default.svc"},
            "ignoreDifferences": [{"group": "apps", "kind": "Deployment", "jsonPointers": ["/spec/replicas"]}],
            "syncPolicy": {"syncOptions": _SYNC_OPTIONS},
        },
    }


def _file(application: Object) -> str:
    words = (
        "Syncs by hand: look at the first difference (there should be none but Argo CD's own annotations), then add\n"
        "syncPolicy.automated. The autoscaler owns spec.replicas, so it isn't compared.\n"
    )
    return text.comment(words + HEADER) + text.dump(application)
