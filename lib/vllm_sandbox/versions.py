"""Pinned versions, read from the go.mod files under tools/: one source for every provider."""

from __future__ import annotations

import re
from functools import cache

from vllm_sandbox.paths import tools_dir


@cache
def pinned(family: str, module: str) -> str:
    """Version of a Go module in ``tools/<family>/go.mod``, e.g. ``v1.36.3``."""
    text = (tools_dir() / family / "go.mod").read_text()
    match = re.search(rf"^\s*(?:require\s+)?{re.escape(module)}\s+(v\S+)", text, re.MULTILINE)
    if not match:
        raise LookupError(f"tools/{family}/go.mod pins no {module}")
    return match.group(1)


KUBERNETES = pinned("kubernetes", "k8s.io/kubernetes")
ETCD = pinned("kubernetes", "go.etcd.io/etcd/server/v3")
KWOK = pinned("kwok", "sigs.k8s.io/kwok")
KEDA = pinned("keda", "github.com/kedacore/keda/v2")
KARPENTER = pinned("karpenter", "sigs.k8s.io/karpenter")
KUBE_STATE_METRICS = pinned("kube-state-metrics", "k8s.io/kube-state-metrics/v2")
HELM = pinned("helm", "helm.sh/helm/v4")


def _prometheus() -> str:
    """Prometheus' release of a module version: v0.316.0 is release v3.16.0."""
    major, minor, patch = re.findall(r"\d+", pinned("prometheus", "github.com/prometheus/prometheus"))
    assert major == "0"
    return f"v{int(minor) // 100}.{int(minor) % 100}.{patch}"


PROMETHEUS = _prometheus()
