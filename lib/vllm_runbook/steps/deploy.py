"""vLLM itself: ServiceAccount, Service and a Deployment whose every number follows from the sizing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from .. import cluster as k8s
from ..cluster import Object, Plan, PodTunnel, Ref, Selection, ServiceProxy, State
from ..cluster.stream import Events, Seen
from ..errors import RunbookError
from ..manifests import manifest
from ..notebook import Notebook
from ..params import Params
from ..plots import PodTimeline, gpu_usage
from ..sizing import Sizing
from ..tables import Table
from . import gpu_nodes, protection, weights, workloads

DEPLOYMENT, SERVICE, PORT = "vllm-inference", "inference", 8000
PODS = f"app.kubernetes.io/name={DEPLOYMENT}"
#: Pods of every Deployment behind the Service: this one, and the one on spot nodes of notebook 08.
SERVERS = "app.kubernetes.io/component=inference"
#: PriorityClass of every server (manifests/vllm/priorityclass.yaml).
PRIORITY = "vllm-serving"
#: Time for the image (10 GB) and the scheduler, on top of the server's own start.
_BEFORE_START = 600


def require(book: Notebook) -> None:
    """Check what must hold before: the model fits, nodes are labelled, weights are there, a GPU is free.

    Raises:
        RunbookError: naming what doesn't hold and which notebook sees to it.
    """
    if not book.sizing.fits:
        raise RunbookError(f"{book.params.model.name} does not fit", why=book.sizing.explain())
    with book.earlier():
        gpu_nodes.require(book)
        weights.require(book)
        if book.cluster.find(Ref("Deployment", DEPLOYMENT, book.namespace)) is None:
            _require_free_gpus(book)


def _require_free_gpus(book: Notebook) -> None:
    gpu, wanted = book.params.platform.gpu, book.params.model.gpus
    pods = book.cluster.list("Pod", fields="status.phase!=Succeeded,status.phase!=Failed")
    usage = gpu_usage(gpu_nodes.ready_nodes(book), pods, gpu.resource)
    if all(node.free < wanted for node in usage):
        raise RunbookError(
            f"No GPU node has {wanted} free {gpu.resource}",
            why="\n".join(f"{node.node}: {node.used} of {node.allocatable} used" for node in usage),
            next_step="Free GPUs or add nodes; the pod would stay Pending.",
        )


def plan(book: Notebook) -> Plan:
    """ServiceAccount, Service, PriorityClass, the API key's Secret, NetworkPolicy and Deployment."""
    return book.plan([*protection.api_key_secret(book), *objects(book.params, book.sizing)])


def objects(params: Params, sizing: Sizing) -> list[Object]:
    """The Deployment, and what it needs, without the API key: its value is nobody's parameter."""
    names = ("vllm/serviceaccount.yaml", "vllm/service.yaml", "vllm/priorityclass.yaml")
    needed = [manifest(name, params.platform.namespace) for name in names]
    return [*needed, *protection.server_policy(params.platform), deployment(params, sizing)]


def deployment(params: Params, sizing: Sizing) -> Object:
    """The Deployment for these parameters."""
    model, platform = params.model, params.platform
    pod, container = "spec.template.spec", "spec.template.spec.containers[0]"
    start, end, host = sizing.startup, sizing.shutdown, sizing.host
    resources = {"cpu": str(host.cpu), "memory": f"{host.memory_gib}Gi", platform.gpu.resource: str(model.gpus)}
    strategy = {"maxSurge": platform.rollout.max_surge, "maxUnavailable": platform.rollout.max_unavailable}
    fields: dict[str, Any] = {
        "spec.strategy.rollingUpdate": strategy,
        "spec.progressDeadlineSeconds": _BEFORE_START + start.period_seconds * start.failure_threshold,
        f"{pod}.affinity.nodeAffinity": gpu_nodes.affinity(platform),
        f"{pod}.tolerations": gpu_nodes.tolerations(platform),
        f"{pod}.terminationGracePeriodSeconds": end.grace_period_seconds,
        f"{pod}.volumes[0]": weights_volume(params),
        f"{pod}.volumes[1].emptyDir.sizeLimit": f"{host.shm_gib}Gi",
        f"{container}.image": platform.image(platform.images.vllm),
        f"{container}.args": arguments(params, sizing),
        f"{container}.resources": {"requests": resources, "limits": resources},
        f"{container}.startupProbe.periodSeconds": start.period_seconds,
        f"{container}.startupProbe.failureThreshold": start.failure_threshold,
        f"{container}.lifecycle.preStop.sleep.seconds": end.prestop_seconds,
    }
    if platform.device_plugin.runtime_class:
        fields[f"{pod}.runtimeClassName"] = platform.device_plugin.runtime_class
    if platform.metrics.discovery == "annotations":
        scrape = {"prometheus.io/scrape": "true", "prometheus.io/port": str(PORT), "prometheus.io/path": "/metrics"}
        fields["spec.template.metadata.annotations"] = scrape
    item = manifest("vllm/deployment.yaml", platform.namespace, fields)
    timeout = {"name": "VLLM_ENGINE_READY_TIMEOUT_S", "value": str(start.engine_ready_timeout_seconds)}
    vllm = item["spec"]["template"]["spec"]["containers"][0]
    vllm["env"] = [each for each in vllm["env"] if each["name"] != protection.VARIABLE]
    vllm["env"] += [timeout, *([protection.key_variable(platform)] if platform.api_key.enabled else [])]
    return item


def arguments(params: Params, sizing: Sizing) -> list[str]:
    """Arguments of ``vllm serve``; the model is a local path, so that no start ever asks the hub."""
    model = params.model
    args = [
        f"/models/{model.hub_id}",
        f"--served-model-name={model.served_name}",
        f"--port={PORT}",
        f"--max-model-len={model.max_model_len}",
        f"--gpu-memory-utilization={model.gpu_memory_utilization:g}",
        f"--tensor-parallel-size={model.tensor_parallel_size}",
        f"--max-num-queued-reqs={sizing.host.max_num_queued_reqs}",
        f"--shutdown-timeout={sizing.shutdown.shutdown_timeout_seconds}",
    ]
    if model.pipeline_parallel_size > 1:
        args.append(f"--pipeline-parallel-size={model.pipeline_parallel_size}")
    if model.max_num_seqs:
        args.append(f"--max-num-seqs={model.max_num_seqs}")
    if model.max_num_batched_tokens:
        args.append(f"--max-num-batched-tokens={model.max_num_batched_tokens}")
    if model.kv_cache_dtype != "auto":
        args.append(f"--kv-cache-dtype={model.kv_cache_dtype}")
    if model.quantization is not None and model.quantization.online:
        args.append(f"--quantization={model.quantization.method}")
    return [*args, *model.extra_args]


def weights_volume(params: Params) -> Object:
    """The volume that servers read their weights from."""
    storage = params.platform.storage
    if storage.strategy == "per_node":
        return {"name": "weights", "hostPath": {"path": storage.node_path, "type": "Directory"}}
    return {"name": "weights", "persistentVolumeClaim": {"claimName": weights.CLAIM, "readOnly": True}}


def selections(book: Notebook) -> list[Selection]:
    """What a rollout of ours consists of: Deployment, ReplicaSets and pods."""
    return workloads.selections(Ref("Deployment", DEPLOYMENT, book.namespace), PODS)


def wait_available(book: Notebook, timeline: PodTimeline, labels: str = PODS) -> None:
    """Watch the rollout until every replica is ready; note the checks.

    Args:
        labels: selector of the Deployment's pods.

    Raises:
        Hopeless: a pod can't start: its events and last log lines say why.
        TimedOut: the rollout's own deadline passed.
    """
    target = Ref("Deployment", DEPLOYMENT, book.namespace)

    def record(event: Seen, _events: Events) -> None:
        if event.object["kind"] == "Pod":
            timeline.record(event.at, event.object, deleted=event.type == "DELETED")

    seconds = book.sizing.startup.period_seconds * book.sizing.startup.failure_threshold + _BEFORE_START
    pods = workloads.new_pods(workloads.wait_serving(book, target, labels, seconds=seconds, on_event=record))
    nodes = {pod["spec"].get("nodeName", "") for pod in pods}
    ready = {node["metadata"]["name"] for node in gpu_nodes.ready_nodes(book)}
    book.check("every replica is ready", True)
    book.check("every pod runs on a labelled GPU node", nodes <= ready)
    book.check(
        "every pod has QoS class Guaranteed", all(k8s.get_in(pod, "status.qosClass") == "Guaranteed" for pod in pods)
    )
    if len(pods) == 1 and (seconds_to_ready := _seconds_to_ready(pods[0])) is not None:
        book.figure("start_seconds", seconds_to_ready)


def _seconds_to_ready(pod: Object) -> float | None:
    from datetime import datetime

    ready = k8s.condition(pod, "Ready").get("lastTransitionTime")
    scheduled = k8s.condition(pod, "PodScheduled").get("lastTransitionTime")
    if not ready or not scheduled:
        return None
    return (datetime.fromisoformat(ready) - datetime.fromisoformat(scheduled)).total_seconds()


@dataclass
class Answer:
    """One streamed chat completion.

    Attributes:
        finish_reason: stop or length when it is whole; anything else means that it was cut.
        ttft_seconds: until the first text arrived; seconds: until the end.
    """

    text: str = ""
    finish_reason: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    ttft_seconds: float = 0.0
    seconds: float = 0.0

    @property
    def whole(self) -> bool:
        """Whether nothing is missing: status 200 alone doesn't say so."""
        return self.finish_reason in ("stop", "length") and self.completion_tokens > 0


def endpoint(book: Notebook, service: str = SERVICE) -> ServiceProxy:
    """A Service of servers through the API server, once it has a ready pod.

    Raises:
        TimedOut: no pod of the Service is ready.
    """
    ready_pod(book, service)
    return ServiceProxy(book.cluster, book.namespace, service, PORT)


def server(book: Notebook, service: str = SERVICE, *, with_key: bool = True) -> PodTunnel:
    """A ready pod of a Service by port-forward, with the API key of this namespace if there is one.

    Raises:
        TimedOut: no pod of the Service is ready.
    """
    key = protection.api_key(book) if with_key else None
    return PodTunnel(book.cluster, book.namespace, ready_pod(book, service), PORT, key)


def ready_pod(book: Notebook, service: str) -> str:
    """Name of a ready pod behind the Service, once there is one."""

    def ready(state: State) -> list[str]:
        endpoints = [each for item in state.all("EndpointSlice") for each in item.get("endpoints") or ()]
        return [each["targetRef"]["name"] for each in endpoints if each.get("conditions", {}).get("ready")]

    slices = Selection("EndpointSlice", book.namespace, labels=f"kubernetes.io/service-name={service}")
    what = f"Service {book.namespace}/{service} has a ready pod"
    state = k8s.wait(book.cluster, what, [slices], lambda state: bool(ready(state)), seconds=60)
    return ready(state)[0]


def chat(book: Notebook, question: str, *, max_tokens: int = 64, service: str = SERVICE) -> Answer:
    """Ask one question and print the answer as it streams; note the checks.

    Raises:
        ApiError: the server refused, or broke off with an error event.
    """
    body = {
        "model": book.params.model.served_name,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    answer = Answer()
    began = time.monotonic()
    for piece in _pieces(server(book, service).stream("v1/chat/completions", body), answer):
        answer.ttft_seconds = answer.ttft_seconds or time.monotonic() - began
        answer.text += piece
        print(piece, end="", flush=True)
    answer.seconds = time.monotonic() - began
    print()
    book.check("one chat completion streamed to its end, with a finish_reason and its tokens counted", answer.whole)
    book.figure("ttft_seconds", round(answer.ttft_seconds, 3))
    book.figure("completion_tokens", answer.completion_tokens)
    return answer


def _pieces(events: Iterator[Any], answer: Answer) -> Iterator[str]:
    """The text of a stream of chunks, the rest put into ``answer``."""
    for event in events:
        if event == "[DONE]":
            return
        for choice in event.get("choices", ()):
            answer.finish_reason = choice.get("finish_reason") or answer.finish_reason
            if text := choice.get("delta", {}).get("content"):
                yield text
        if usage := event.get("usage"):
            answer.prompt_tokens, answer.completion_tokens = usage["prompt_tokens"], usage["completion_tokens"]


#: What the later notebooks scale and alert on, with its meaning.
METRICS = {
    "vllm:num_requests_running": "requests in the batch",
    "vllm:num_requests_waiting": "requests in the queue",
    "vllm:kv_cache_usage_perc": "share of the KV cache in use (0 to 1)",
    "vllm:prompt_tokens": "prompt tokens so far",
    "vllm:generation_tokens": "generated tokens so far",
    "vllm:request_success": "finished requests so far, whatever their end",
    "vllm:num_preemptions": "requests thrown out of the batch so far for lack of KV cache",
}
#: Names of older versions that guides still use; a query on them returns nothing, silently.
GONE = (
    "vllm:gpu_cache_usage_perc",
    "vllm:time_per_output_token_seconds",
    "vllm:num_requests_swapped",
    "vllm_pending_requests_total",
)


def metrics(book: Notebook) -> Table:
    """The server's own metrics, read from one pod; notes the checks."""
    families = {family.name: family for family in text_string_to_metric_families(server(book).text("metrics"))}
    missing = [name for name in METRICS if name not in families]
    book.check("/metrics has the gauges and counters that later notebooks use", not missing, ", ".join(missing))
    book.check("names that guides still use are not there", not any(name in families for name in GONE))
    rows = [
        (
            name,
            f"{sum(s.value for s in families[name].samples if not s.name.endswith('_created')):g}",
            families[name].type,
            meaning,
        )
        for name, meaning in METRICS.items()
        if name in families
    ]
    return Table(("metric", "value", "type", "meaning"), rows)
