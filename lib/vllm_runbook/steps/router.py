"""The router in front of a registry's models: its table of routes, and its objects."""

from __future__ import annotations

import hashlib
from typing import Any

from .. import cluster as k8s
from ..cluster import Object
from ..manifests import manifest
from ..params import Params, Platform
from ..router.routes import Backend, Card, Routes
from . import deploy, gpu_nodes, observability, protection, served_models
from .served_models import Server

DEPLOYMENT, SERVICE, PORT = "model-router", "models", 8080
PODS = f"app.kubernetes.io/name={DEPLOYMENT}"
_FILE = "routes.json"


def routes(params: Params) -> Routes:
    """Every model and adapter, and the Service of its servers."""
    catalogue, found = served_models.catalogue(params), served_models.servers(params)
    return Routes(
        queue_per_model=catalogue.registry.queue_per_model,
        backends=[_backend(server) for server in found],
        models=[card for server in found for card in _cards(server)],
    )


def _backend(server: Server) -> Backend:
    address = f"{server.name}.{server.params.platform.namespace}.svc.cluster.local"
    name, hold = server.served.model.name, server.hold_seconds
    return Backend(name=name, url=f"http://{address}:{deploy.PORT}", hold_seconds=float(hold))


def _cards(server: Server) -> list[Card]:
    model, names = server.served.model, server.served.names
    base = {"backend": model.name, "root": f"/models/{model.hub_id}"}
    cards = [Card(id=name, **base, max_model_len=model.max_model_len) for name in names]
    return cards + [
        Card(id=adapter.name, backend=model.name, root=served_models.adapter_path(adapter), parent=names[0])
        for adapter in server.served.entry.adapters
    ]


def objects(params: Params) -> list[Object]:
    """Two routers that know these routes, the Service that clients ask, and who may reach whom."""
    platform = served_models.there(params.platform)
    table = routes(params).model_dump_json(indent=1) + "\n"
    needed = [manifest(f"router/{name}.yaml", platform.namespace) for name in ("serviceaccount", "service", "pdb")]
    return [
        *needed,
        manifest("router/configmap.yaml", platform.namespace, {"data": {_FILE: table}}),
        *_policy(platform),
        *_monitor(platform),
        _deployment(platform, table),
    ]


def _deployment(platform: Platform, table: str) -> Object:
    template, container = "spec.template", "spec.template.spec.containers[0]"
    digest = hashlib.sha256(table.encode()).hexdigest()[:12]
    annotations = {observability.CONFIG_HASH: digest}
    if platform.metrics.discovery == "annotations":
        annotations |= {"prometheus.io/scrape": "true", "prometheus.io/port": str(PORT)}
    key = [protection.key_variable(platform)] if platform.api_key.enabled else []
    fields: dict[str, Any] = {
        f"{template}.metadata.annotations": annotations,
        f"{container}.image": platform.image(platform.images.runbook),
        f"{container}.env": key,
    }
    return gpu_nodes.keep_off(manifest("router/deployment.yaml", platform.namespace, fields), platform)


def _policy(platform: Platform) -> list[Object]:
    """The servers' peers of the platform, for the router's port."""
    servers = protection.server_policy(platform)
    peers = [item["spec"]["ingress"][0]["from"] for item in servers]
    return [manifest("router/networkpolicy.yaml", platform.namespace, {"spec.ingress[0].from": each}) for each in peers]


def _monitor(platform: Platform) -> list[Object]:
    """What an operator's Prometheus needs to find servers and routers here."""
    if platform.metrics.install == "manifest":
        return []
    servers = observability.found_by(platform)
    labels = {"matchLabels": {"app.kubernetes.io/component": "router"}}
    selector = {"spec.selector": labels, "metadata.name": DEPLOYMENT}
    return [*servers, *(k8s.changed(item, selector) for item in servers)]
