"""A registry for KServe: an InferenceService for each model, with the same pod, weights and query.

What KServe 0.17 makes of it was read in its sources (pkg/controller/v1beta1/inferenceservice/reconcilers): in mode
Standard a Deployment with the pod as given, Services NAME-predictor, and with autoscalerClass keda a ScaledObject. Of
an external metric it takes ``target.value`` for the threshold, whatever its type says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..cluster import Object, get_in, in_order, marked
from ..params import Params
from ..steps import served_models, weights
from ..steps.inventory import of_registry
from ..steps.served_models import Server
from . import text
from .contents import Contents, Item
from .tree import HEADER, Request

Files = dict[str, str]
NOTEBOOK = "13_multi_model"
_API = "serving.kserve.io"
#: The container that KServe takes for the server.
_CONTAINER = "kserve-container"
#: Kinds that servers need and KServe doesn't make.
_NEEDED = ("ServiceAccount", "PriorityClass", "NetworkPolicy")


def files(request: Request, platforms: Sequence[Params]) -> tuple[Files, list[Contents]]:
    """Every file, by path, and what they were made of.

    Raises:
        ParamsError: the registry has a mistake, or a platform names none.
        RunbookError: the platform's weights are no volume that all servers share.
    """
    found: Files = {}
    contents = []
    for params in platforms:
        name, servers = params.platform.name, served_models.servers(params)
        before = needed(params)
        services = {server.name: inference_service(server) for server in servers}
        found[f"{name}/needed.yaml"] = text.comment(HEADER) + text.documents(before)
        for each, item in services.items():
            found[f"{name}/{each}.yaml"] = text.comment(HEADER) + text.dump(item)
        items = [Item(NOTEBOOK, "serving", item) for item in [*before, *services.values()]]
        contents.append(Contents(params, items, of_registry(params)))
    found["README.md"] = _readme(request, contents)
    return found, contents


def needed(params: Params) -> list[Object]:
    """What must be there first: namespace, the volume with the Jobs that fill it, account, priority, policies."""
    platform = served_models.there(params.platform)
    servers = [item for item in served_models.server_objects(params) if item["kind"] in _NEEDED]
    items = [weights.namespace_object(platform), *served_models.weight_objects(params), *servers]
    return [marked(item, NOTEBOOK) for item in in_order(items)]


def inference_service(server: Server) -> Object:
    """The InferenceService of one model: the pod of notebook 13, under KServe's names."""
    deployment = served_models.deployment(server)
    template = deployment["spec"]["template"]
    pod: dict[str, Any] = dict(template["spec"])
    (container,) = pod.pop("containers")
    entry, platform = server.served.entry, server.params.platform
    predictor: dict[str, Any] = {
        "minReplicas": entry.min_replicas,
        "maxReplicas": entry.max_replicas,
        "labels": template["metadata"]["labels"],
        **({"annotations": found} if (found := template["metadata"].get("annotations")) else {}),
        "deploymentStrategy": deployment["spec"]["strategy"],
        "autoScaling": {"metrics": [_metric(server)]},
        **pod,
        "containers": [{**container, "name": _CONTAINER}],
    }
    item = {
        "apiVersion": f"{_API}/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": server.name,
            "namespace": platform.namespace,
            "labels": {"app.kubernetes.io/name": server.name},
            "annotations": {f"{_API}/deploymentMode": "Standard", f"{_API}/autoscalerClass": "keda"},
        },
        "spec": {"predictor": predictor},
    }
    return marked(item, NOTEBOOK)


def _metric(server: Server) -> Object:
    (trigger,) = get_in(served_models.scaled_object(server), "spec.triggers")
    metadata = trigger["metadata"]
    metric = {"backend": "prometheus", "serverAddress": metadata["serverAddress"], "query": metadata["query"]}
    return {
        "type": "External",
        "external": {"metric": metric, "target": {"type": "Value", "value": metadata["threshold"]}},
    }


def _readme(request: Request, contents: Sequence[Contents]) -> str:
    lines = [
        "# Several models for KServe",
        "",
        f"Made by `{request.command()}`. For KServe 0.17 in mode Standard, with KEDA and Prometheus.",
        "",
    ]
    for each in contents:
        namespace, name = each.params.platform.models_namespace, each.platform
        lines += [f"## {name}", "", "```sh", f"kubectl apply --server-side -f {name}/needed.yaml"]
        for missing in each.missing:
            lines.append(f"# {missing.what} must exist: {missing.why}")
        lines += [
            f"kubectl -n {namespace} wait --for=condition=complete job --all --timeout=2h",
            f"kubectl apply --server-side -f {name}/",
            "```",
            "",
        ]
    return "\n".join([*lines, *_WORDS])


_WORDS = """\
## What is other than with notebook 13

- KServe makes Deployment, Services (`NAME-predictor`, port 80) and ScaledObject of each; there is no budget.
- Its ScaledObject has KEDA's defaults: `cooldownPeriod` 300, no fallback, and `ignoreNullValues` true, with which a
  query that finds nothing counts as no load, silently.
- A model with `minReplicas: 0` is woken by what a router holds for it (`vllm_runbook_router_pending_requests`): without
  the router of notebook 13 in front, with the predictors' addresses in its routes, nothing wakes it.
- LLMInferenceService (llm-d) is another way, which is not exported: of a model it wants the weights' address, the
  parallelism and its adapters, and it always keeps a replica (`scaling.minReplicas` is at least 1).
""".splitlines()
