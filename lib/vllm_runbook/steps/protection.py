"""What stands between servers and everybody else: API key, NetworkPolicies, Pod Security (docs/security.md)."""

from __future__ import annotations

import base64
import os
import re
import secrets
from typing import Any
from urllib.parse import urlsplit

from .. import cluster as k8s
from ..cluster import Object, Ref
from ..errors import RunbookError
from ..manifests import manifest
from ..notebook import Notebook
from ..params import Platform
from ..tables import Table

#: Where a key of one's own comes from, and where the server looks for it (vllm/envs.py).
VARIABLE = "VLLM_API_KEY"
#: Begins every key that is made here, so that one that got somewhere can be found.
PREFIX = "sk-runbook-"
_TOKEN = re.compile(r"[!-~]{8,}")


def api_key_secret(book: Notebook) -> list[Object]:
    """The Secret with the API key: at random, or from the environment; nothing where one is there already.

    Raises:
        RunbookError: the environment's key can't be sent in a header, or somebody else's Secret has another key.
    """
    wanted = book.params.platform.api_key
    if not wanted.enabled:
        return []
    secret, given = wanted.secret, os.environ.get(VARIABLE, "").strip()
    if given and not _TOKEN.fullmatch(given):
        raise RunbookError(
            f"{VARIABLE} is no key", why="a key has at least 8 characters, none of them a space or outside ASCII"
        )
    ref = Ref("Secret", secret.name, book.namespace)
    live = book.cluster.find(ref)
    known = _value(live, secret.key)
    if live is not None and known and (not given or given == known):
        return []
    if live is not None and not k8s.is_ours(live):
        raise RunbookError(
            f"{ref} has no key of ours",
            why=f"key {secret.key} is missing there, or {VARIABLE} says another; the Secret isn't this runbook's",
            next_step=f"Change the Secret, unset {VARIABLE}, or name another: -p api_key.secret.name=NAME.",
        )
    if known:
        print(f"{ref} changes; servers take the new key when they start again: kubectl rollout restart.")
    value = given or PREFIX + secrets.token_urlsafe(32)
    data = {secret.key: base64.b64encode(value.encode()).decode()}
    fields = {"metadata.name": secret.name, "stringData": None, "data": data}
    return [manifest("vllm/api-key.yaml", book.namespace, fields)]


def api_key(book: Notebook) -> str | None:
    """The key for requests to the servers of this namespace; None where there is none. Never print it."""
    wanted = book.params.platform.api_key
    if not wanted.enabled:
        return None
    return _value(book.cluster.find(Ref("Secret", wanted.secret.name, book.namespace)), wanted.secret.key) or None


def _value(secret: Object | None, key: str) -> str:
    return base64.b64decode(((secret or {}).get("data") or {}).get(key, "")).decode(errors="replace")


def key_variable(platform: Platform, *, optional: bool = False) -> Object:
    """The container's variable that holds the API key."""
    secret = platform.api_key.secret
    source: dict[str, Any] = {"name": secret.name, "key": secret.key} | ({"optional": True} if optional else {})
    return {"name": VARIABLE, "valueFrom": {"secretKeyRef": source}}


def server_policy(platform: Platform) -> list[Object]:
    """The NetworkPolicy of the servers; nothing where the platform wants none."""
    network, metrics = platform.network, platform.metrics
    if not network.policies:
        return []
    item = manifest("vllm/networkpolicy.yaml", platform.namespace)
    peers = item["spec"]["ingress"][0]["from"]
    peers[1] = _namespace(metrics.namespace) | (
        {"podSelector": peers[1]["podSelector"]} if metrics.install == "manifest" else {}
    )
    peers += [_namespace(name) for name in network.clients]
    if platform.canary is not None:
        gateway = platform.canary.gateway
        pods = {"podSelector": {"matchLabels": gateway.pods}} if gateway.pods else {}
        peers.append(_namespace(gateway.pods_namespace or gateway.namespace) | pods)
    peers += [{"ipBlock": {"cidr": cidr}} for cidr in network.control_plane]
    return [item]


def _namespace(name: str) -> Object:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def prefetch_policy(platform: Platform) -> list[Object]:
    """The NetworkPolicy of the prefetch: names, and the hub's port."""
    if not platform.network.policies:
        return []
    hub = urlsplit(platform.hub.endpoint)
    port = hub.port or (443 if hub.scheme == "https" else 80)
    return [manifest("weights/networkpolicy.yaml", platform.namespace, {"spec.egress[1].ports[0].port": port})]


def pod_security(platform: Platform) -> tuple[str, str]:
    """The Pod Security level of the namespace with the models, and why."""
    if platform.storage.strategy == "per_node":
        return "privileged", "storage.strategy per_node mounts a directory of the node; baseline refuses hostPath, too"
    return "restricted", "nothing here needs more"


def levels(platform: Platform) -> Table:
    """Every namespace that the notebooks put pods into, with its Pod Security level and why it has no stricter one."""
    level, why = pod_security(platform)
    rows = [(platform.namespace, level, why)]
    rows += [(platform.models_namespace, level, "likewise, for a registry's models")] if platform.registry else []
    ours = {
        platform.metrics.namespace: platform.metrics.install == "manifest",
        platform.autoscaling.namespace: platform.autoscaling.install != "existing",
        platform.provisioning.namespace: platform.provisioning.install == "manifest",
        "crowd": platform.rehearsal.crowd,
    }
    if platform.canary is not None:
        ours[platform.canary.gateway.namespace] = platform.canary.gateway.install == "manifest"
    rows += [(name, "restricted", "where the runbook makes the namespace") for name, made in ours.items() if made]
    if platform.rehearsal.outage:
        rows.append((platform.naive_namespace, "none (warns)", "the usual guide's server runs as root"))
    if platform.device_plugin.mode != "managed":
        why = (
            "device plugin and DCGM exporter mount the kubelet's directories; the namespace is the cluster's and stays "
            "as it is"
        )
        rows.append((platform.device_plugin.namespace, "not ours", why))
    return Table(("namespace", "Pod Security level", "why"), rows)


def level_labels(level: str) -> dict[str, str]:
    """Fields of a Namespace that enforce a Pod Security level."""
    return {f"metadata.labels[pod-security.kubernetes.io/{mode}]": level for mode in ("enforce", "warn")}
