"""The objects of a registry's models: one volume for all weights, and servers, autoscaler and budget of each.

They live in a namespace of their own (``llm-models`` beside ``llm``): there the Deployment of notebook 04, which may
serve a model of the same name, its Service and its autoscaler's sums stay what they are.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from dataclasses import dataclass
from typing import Any

from .. import cluster as k8s
from .. import sizing as sizes
from ..cluster import Object
from ..errors import RunbookError
from ..manifests import manifest
from ..notebook import Notebook
from ..params import Params, Platform
from ..params.registry import Adapter, Catalogue, Served, load_registry
from ..sizing import Sizing
from . import autoscaling, deploy, disruption, protection, weights

#: Adapters that one batch mixes at most (``--max-loras``): each has a place of the largest rank in GPU memory.
MAX_LORAS = 4
#: Where adapters lie on the volume, below /models; models lie at <organisation>/<name>, as notebook 03 puts them.
ADAPTERS = "/models/adapters"
_MIB_PER_ADAPTER = 512
_LABEL = "app.kubernetes.io/name"


@dataclass(frozen=True)
class Server:
    """One model of a registry, sized, in the registry's namespace.

    Attributes:
        name: of its Deployment, Service, ScaledObject and budget, and the label of its pods.
        hold_seconds: how long the router keeps a request while none of its pods is ready.
    """

    served: Served
    params: Params
    sizing: Sizing

    @property
    def name(self) -> str:
        return f"model-{self.served.slug}"

    @property
    def cold(self) -> bool:
        return self.served.entry.cold

    @property
    def pods(self) -> str:
        """Selector of its pods."""
        return f"{_LABEL}={self.name}"

    @property
    def hold_seconds(self) -> int:
        """A cold one: as long as a start may take, but no longer than OpenAI's clients wait (600 s by default)."""
        start = self.sizing.startup
        budget = min(600, start.period_seconds * start.failure_threshold) if self.cold else 10
        return self.served.entry.hold_seconds or budget


def there(platform: Platform) -> Platform:
    """The platform with the registry's namespace as its own."""
    return platform.model_copy(update={"namespace": platform.models_namespace})


def room(book: Notebook, server: Server | None = None) -> Notebook:
    """A notebook like this one in the registry's namespace, with a result of its own."""
    params = book.params if server is None else server.params
    own = dataclasses.replace(params, platform=there(book.params.platform))
    return Notebook(book.step, own, book.cluster)


def servers(params: Params) -> list[Server]:
    """Every model of the registry that the platform names.

    Raises:
        ParamsError: the registry has a mistake, or the platform names none.
    """
    return [_server(params, served) for served in load_registry(params.platform).models]


def catalogue(params: Params) -> Catalogue:
    """The registry itself."""
    return load_registry(params.platform)


def _server(params: Params, served: Served) -> Server:
    entry, platform = served.entry, there(params.platform)
    scaling = {"min_replicas": entry.min_replicas, "max_replicas": entry.max_replicas}
    gpu = {"tolerations": [*platform.gpu.tolerations, *entry.nodes.tolerations]}
    platform = platform.model_copy(
        update={
            "autoscaling": platform.autoscaling.model_copy(update=scaling),
            "gpu": platform.gpu.model_copy(update=gpu),
        }
    )
    args = [*served.model.extra_args, *_lora(entry.adapters)]
    model = served.model.model_copy(update={"served_name": served.names[0], "extra_args": args})
    own = Params(platform, model, params.overrides, params.files)
    return Server(served, own, sizes.size(own))


def _lora(adapters: list[Adapter]) -> list[str]:
    """Flags of ``vllm serve`` for adapters; an adapter of a rank above --max-lora-rank ends the start."""
    if not adapters:
        return []
    rank = max(adapter.rank for adapter in adapters)
    pairs = [f"{adapter.name}={adapter_path(adapter)}" for adapter in adapters]
    many = [f"--max-loras={min(len(adapters), MAX_LORAS)}", f"--max-lora-rank={rank}"]
    return ["--enable-lora", *many, "--lora-modules", *pairs]


def adapter_path(adapter: Adapter) -> str:
    """Where an adapter lies in every server."""
    return f"{ADAPTERS}/{adapter.repo}"


# -- weights ------------------------------------------------------------------------------------


def weight_objects(params: Params) -> list[Object]:
    """The claim for all models, and a prefetch Job for each model and adapter.

    Raises:
        RunbookError: the platform's weights are no volume that all servers share.
    """
    platform, found = there(params.platform), servers(params)
    if platform.storage.strategy != "shared":
        raise RunbookError(
            "Several models need storage.strategy shared",
            why=f"{platform.name} has {platform.storage.strategy}: each copy of a disk, or of a node's directory, is "
            "one model's",
            next_step="Name a class that many nodes can write: -p storage.strategy=shared -p storage.class=… "
            "-p storage.access_modes.fill=ReadWriteMany -p storage.access_modes.serve=ReadWriteMany.",
        )
    claim = weights.claim(platform, catalogue(params).registry.volume_size or claim_size(found, platform))
    return [*protection.prefetch_policy(platform), claim, *jobs(found)]


def claim_size(found: list[Server], platform: Platform) -> str:
    """The sum of what each model's own claim would be, and half a GiB for each adapter; or ``storage.size``."""
    if platform.storage.size:
        return platform.storage.size
    adapters = sum(len(server.served.entry.adapters) for server in found)
    total = sum(server.sizing.storage.claim_bytes for server in found) + adapters * _MIB_PER_ADAPTER * 2**20
    return f"{-(-total // 2**30)}Gi"


def jobs(found: list[Server]) -> list[Object]:
    """A prefetch Job for each model and adapter, with the arguments of notebook 03's."""
    items = []
    for server in found:
        job = weights.prefetch_job(server.params, server.sizing)
        items.append(k8s.changed(job, {"metadata.name": job_name(server)}))
        for adapter in server.served.entry.adapters:
            args = [f"--repo={adapter.repo}", f"--revision={adapter.revision}", f"--target={adapter_path(adapter)}"]
            fields = {"metadata.name": job_name(server, adapter), "spec.template.spec.containers[0].args": args}
            items.append(k8s.changed(job, fields))
    return items


def job_name(server: Server, adapter: Adapter | None = None) -> str:
    """Name of the Job that brings a model or an adapter."""
    return f"prefetch-{server.served.slug}" if adapter is None else f"prefetch-adapter-{_slug(adapter.name)}"


def _slug(text: str) -> str:
    """A Kubernetes name for a served name; with a digest where something was replaced, so it stays unique."""
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40]
    return slug if slug == text else f"{slug}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


# -- servers ------------------------------------------------------------------------------------


def server_objects(params: Params) -> list[Object]:
    """Of each model its Deployment, Service and (if it always runs) budget; and what all need, without the API key."""
    platform, found = there(params.platform), servers(params)
    needed = [manifest(name, platform.namespace) for name in ("vllm/serviceaccount.yaml", "vllm/priorityclass.yaml")]
    policies = protection.server_policy(platform)
    for policy in policies:
        policy["spec"]["ingress"][0]["from"].append(
            {"podSelector": {"matchLabels": {"app.kubernetes.io/component": "router"}}}
        )
    items = [*needed, *policies]
    for server in found:
        items += [_service(server), deployment(server), *([] if server.cold else [_budget(server)])]
    return items


def deployment(server: Server) -> Object:
    """Notebook 04's Deployment of this model, under its own name, with its names, adapters and nodes."""
    item = deploy.deployment(server.params, server.sizing)
    names = ["--served-model-name", *server.served.names]
    container = "spec.template.spec.containers[0]"
    args = k8s.get_in(item, f"{container}.args")
    at = args.index(f"--served-model-name={server.served.names[0]}")
    fields: dict[str, Any] = {
        "metadata.name": server.name,
        f"metadata.labels[{_LABEL}]": server.name,
        f"spec.selector.matchLabels[{_LABEL}]": server.name,
        f"spec.template.metadata.labels[{_LABEL}]": server.name,
        f"{container}.args": [*args[:at], *names, *args[at + 1 :]] if len(names) > 2 else args,
    }
    item = k8s.changed(item, fields)
    required = "spec.template.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
    for term in k8s.get_in(item, f"{required}.nodeSelectorTerms", ()):
        for key, value in server.served.entry.nodes.labels.items():
            term["matchExpressions"].append({"key": key, "operator": "In", "values": [value]})
    return item


def _service(server: Server) -> Object:
    fields = {
        "metadata.name": server.name,
        f"metadata.labels[{_LABEL}]": server.name,
        "spec.selector": {_LABEL: server.name},
    }
    return manifest("vllm/service.yaml", server.params.platform.namespace, fields)


def _budget(server: Server) -> Object:
    fields = {"metadata.name": server.name, "spec.selector.matchLabels": {_LABEL: server.name}}
    return k8s.changed(disruption.budget(server.params.platform), fields)


# -- autoscalers --------------------------------------------------------------------------------


def query(server: Server) -> str:
    """PromQL of what a model has to do; exactly one series, whether it runs or not.

    Of one that always runs: the platform's policy for its requests. Of a cold one also what the router holds for it,
    which is all that there is at zero; and one more while any request came within the last few scrapes, so that
    requests too short to be seen between two scrapes keep it awake.
    """
    platform, name = server.params.platform, server.served.names[0]
    chosen = f'namespace="{platform.namespace}",model_name="{name}"'
    waiting, running = f"sum(vllm:num_requests_waiting{{{chosen}}})", f"sum(vllm:num_requests_running{{{chosen}}})"
    busy = waiting if platform.autoscaling.policy == "queue" else f"{running} + {waiting}"
    if not server.cold:
        return busy
    router = f'{{namespace="{platform.namespace}",model="{server.served.model.name}"}}'
    held = f"sum(vllm_runbook_router_pending_requests{router})"
    window = 3 * platform.metrics.scrape_interval_seconds
    recent = f"(sum(increase(vllm_runbook_router_received_total{router}[{window}s])) > bool 0)"
    # no server, no series: that is no error then; no router is one
    return f"{held} + {recent} + ({busy} or vector(0))"


def scaled_objects(params: Params) -> list[Object]:
    """An autoscaler for each model: notebook 06's, with a query of its own."""
    return [scaled_object(server) for server in servers(params)]


def scaled_object(server: Server) -> Object:
    """Notebook 06's ScaledObject for this model; a cold one has its own cooldown."""
    entry, trigger = server.served.entry, "spec.triggers[0].metadata"
    fields: dict[str, Any] = {
        "metadata.name": server.name,
        "spec.scaleTargetRef.name": server.name,
        f"{trigger}.query": query(server),
    }
    if server.cold:
        fields[f"{trigger}.activationThreshold"] = "0"  # anything above wakes it
        if entry.cooldown_seconds is not None:
            fields["spec.cooldownPeriod"] = entry.cooldown_seconds
    return k8s.changed(autoscaling.scaled_object(server.params), fields)
