"""The README of a tree: how it was made, what must be there before it, and the order."""

from __future__ import annotations

from collections.abc import Sequence

from .contents import MEANING, Contents
from .tree import Request, made_by

_SECRETS = """\
Secrets are not here, only references to them. How they get into the cluster is your choice: External Secrets, Sealed
Secrets, SOPS, or `kubectl create secret generic NAME --namespace NAMESPACE --from-file=KEY=FILE`.
"""
_EDITING = """\
To change something change a parameter and export again (`-p NAME=VALUE`); files that you edited are not overwritten
without `--force`. `runbook diff DIR` shows where the cluster differs from this directory.
"""


def kustomize(request: Request, platforms: Sequence[Contents]) -> str:
    """For a Kustomize tree."""
    first = platforms[0]
    parts = [
        _head(request, "vLLM, as the notebooks apply it: Kustomize"),
        "`base/` has what all platforms have in common; `overlays/PLATFORM/` what each has different, in layers:\n",
        _layers(first),
        "```sh\n" + _apply(first) + "```\n",
        "(`--server-side`, because some CustomResourceDefinitions are larger than an annotation may be.)\n",
        f"**Argo CD:** `kubectl apply -f argocd/{first.platform}-application.yaml`. Sync waves keep the order.\n",
        f"**Flux:** `kubectl apply -f flux/{first.platform}.yaml`. `dependsOn` keeps the order.\n",
        _needs(platforms),
        _EDITING,
    ]
    return "\n".join(parts)


def helm(request: Request, platforms: Sequence[Contents]) -> str:
    """For a chart."""
    first = platforms[0]
    options = f"--values values-{first.platform}.yaml --namespace default"
    commands = []
    for at, layer in enumerate(first.layers):
        off = ",".join(f"layers.{other}=false" for other in first.layers[at + 1 :])
        commands.append(f"helm upgrade --install vllm . {options}{' --set ' + off if off else ''}")
        commands += _wait(first) if layer == "weights" else []
    parts = [
        _head(request, "vLLM, as the notebooks apply it: a Helm chart"),
        "`values.yaml` has what users change; `values-PLATFORM.yaml` what a platform has different. In layers:\n",
        _layers(first),
        "```sh\n" + "\n".join(commands) + "\n```\n",
        "Objects name their namespaces; the release's own namespace only keeps Helm's record. `helm uninstall` removes "
        "the claims, too, unless they are kept: `--set annotations.claims.helm\\.sh/resource-policy=keep`. Helm can't "
        "change a Job: delete it before an upgrade that changes the model, or let it be a hook (`annotations.job`; "
        f"`flux/{first.platform}.yaml` does both).\n",
        f"**Argo CD:** `kubectl apply -f argocd/{first.platform}-application.yaml`. Sync waves keep the order.\n",
        f"**Flux:** `kubectl apply -f flux/{first.platform}.yaml`: a HelmRelease per layer.\n",
        _needs(platforms),
        _EDITING,
    ]
    return "\n".join(parts)


def _head(request: Request, title: str) -> str:
    return f"# {title}\n\n{made_by(request)}\n"


def _layers(platform: Contents) -> str:
    return "".join(f"{at}. **{layer}**: {MEANING[layer]}.\n" for at, layer in enumerate(platform.layers, 1))


def _apply(platform: Contents) -> str:
    lines = []
    for layer in platform.layers:
        lines.append(f"kubectl apply --server-side -k overlays/{platform.platform}/{layer}")
        lines += _wait(platform) if layer == "weights" else []
    return "\n".join(lines) + "\n"


def _wait(platform: Contents) -> list[str]:
    """The commands that wait for the weights: servers that start without them fail, and a copy would be empty."""
    lines, jobs = [], dict[str, list[str]]()
    for _, ref in (item.key for item in platform.of("weights")):
        if ref.kind == "DaemonSet":
            lines.append(f"kubectl -n {ref.namespace} rollout status daemonset/{ref.name} --timeout=2h")
        elif ref.kind == "Job":
            jobs.setdefault(ref.namespace, []).append(f"job/{ref.name}")
    waits = (f"-n {space} wait --for=condition=complete {' '.join(names)}" for space, names in jobs.items())
    return lines + [f"kubectl {words} --timeout=2h" for words in waits]


def _needs(platforms: Sequence[Contents]) -> str:
    lines = ["## What must be there\n", _SECRETS]
    for platform in platforms:
        lines.append(f"On {platform.platform}:\n")
        lines += [f"- {each.what}: {each.why}" for each in platform.missing]
        lines.append("")
    return "\n".join(lines)
