"""Prometheus: installed or found, scraping every vLLM server, and asked before anything relies on its answers.

With it come the rules (:mod:`..rules`) and, beside our own, what else it scrapes (:mod:`.exporters`).
"""

from __future__ import annotations

import hashlib
from typing import Any

import yaml

from .. import cluster as k8s
from .. import rules as rule_files
from ..cluster import Object, Plan, Ref
from ..errors import RunbookError
from ..manifests import manifest, manifests
from ..notebook import Notebook
from ..params import Params, Platform
from ..prometheus import Prometheus
from ..tables import Table
from . import deploy, exporters, gpu_nodes, weights, workloads

DEPLOYMENT = "prometheus-server"
#: Annotation of the pod template: a change of the configuration or of a rule starts a new pod.
CONFIG_HASH = "runbook.vllm.dev/config"
_START_SECONDS = 300


def namespaces(platform: Platform) -> list[str]:
    """Namespaces whose servers are scraped: ours, and the guide's and a registry's where there are such."""
    naive = [platform.naive_namespace] if platform.rehearsal.outage else []
    return [platform.namespace, *naive, *([platform.models_namespace] if platform.registry else [])]


def require(book: Notebook) -> None:
    """Check that there is something to observe.

    Raises:
        RunbookError: notebook 04 wasn't here.
    """
    with book.earlier():
        if book.cluster.find(Ref("Deployment", deploy.DEPLOYMENT, book.namespace)) is None:
            raise RunbookError("There is no server to observe", next_step="Run notebook 04 (deploy vLLM) first.")


def prometheus(book: Notebook) -> Prometheus:
    """The Prometheus that the parameters name."""
    return Prometheus(book.cluster, book.params.platform)


def plan(book: Notebook) -> Plan:
    """Our Prometheus; or, where one exists, what it needs to find our pods.

    Raises:
        RunbookError: the parameters say that one exists, and its Service isn't there.
    """
    metrics = book.params.platform.metrics
    if metrics.install == "existing" and book.cluster.find(Ref("Service", metrics.service, metrics.namespace)) is None:
        raise RunbookError(
            f"There is no Service {metrics.namespace}/{metrics.service}",
            why="metrics.install is existing: a Prometheus that is there is used",
            next_step="Name it (-p metrics.namespace=… -p metrics.service=…), or let us: -p metrics.install=manifest.",
        )
    return book.plan(objects(book.params))


def objects(params: Params) -> list[Object]:
    """Our Prometheus, its rules and what it scrapes; or what an existing one needs to find our pods and rules."""
    platform = params.platform
    if platform.metrics.install == "manifest":
        return [*_ours(params), *exporters.objects(platform, namespaces(platform))]
    return [*found_by(platform), *([_rule_object(params)] if platform.rules_by == "prometheus_rule" else [])]


def found_by(platform: Platform) -> list[Object]:
    """What tells an existing Prometheus of our pods, if that isn't on the pods (annotations)."""
    metrics = platform.metrics
    interval = f"{metrics.scrape_interval_seconds}s"
    if metrics.discovery == "pod_monitor":
        fields: dict[str, Any] = {f"metadata.labels[{key}]": value for key, value in metrics.pod_monitor_labels.items()}
        fields["spec.podMetricsEndpoints[0].interval"] = interval
        return [manifest("observability/pod-monitor.yaml", platform.namespace, fields)]
    if metrics.discovery == "pod_monitoring":
        fields = {"spec.endpoints[0].interval": interval}
        return [manifest("observability/pod-monitoring.yaml", platform.namespace, fields)]
    return []


def _rule_object(params: Params) -> Object:
    """All rules as one object of the Prometheus operator's."""
    platform = params.platform
    fields: dict[str, Any] = {
        f"metadata.labels[{key}]": value for key, value in platform.metrics.pod_monitor_labels.items()
    }
    groups = [group for each in rule_files.documents(params).values() for group in each["groups"]]
    fields["spec.groups"] = groups
    return manifest("monitoring/prometheus-rule.yaml", platform.namespace, fields)


def _ours(params: Params) -> list[Object]:
    platform = params.platform
    metrics, spaces = platform.metrics, namespaces(platform)
    homes = {exporters.STATE_METRICS: metrics.namespace, exporters.DCGM: platform.device_plugin.namespace}
    looked_into = dict.fromkeys([*spaces, *(homes[name] for name in exporters.wanted(platform))])
    found: list[Object] = []
    for item in manifests("observability/prometheus.yaml"):
        kind = item["kind"]
        if kind in ("Role", "RoleBinding"):
            found += [_may_find_pods(item, namespace, metrics.namespace) for namespace in looked_into]
        elif kind == "Namespace":
            found.append(k8s.changed(item, {"metadata.name": metrics.namespace}))
        else:
            item = k8s.changed(item, {"metadata.namespace": metrics.namespace})
            found.append(gpu_nodes.keep_off(item, platform) if kind == "Deployment" else item)
    naive = manifest("naive/namespace.yaml", platform.naive_namespace)
    models = weights.namespace_object(platform.model_copy(update={"namespace": platform.models_namespace}))
    others = [item for item in (naive, models) if item["metadata"]["name"] in spaces]
    config = next(item for item in found if item["kind"] == "ConfigMap")
    config["data"]["prometheus.yml"] = _configured(platform, config["data"]["prometheus.yml"])
    if platform.rules_by == "config_map":
        loaded = rule_files.documents(params)
        config["data"] |= {f"rules-{name}.yaml": rule_files.text(each) for name, each in loaded.items()}
    server = next(item for item in found if item["kind"] == "Deployment")
    pod = server["spec"]["template"]
    pod["metadata"]["annotations"] = {CONFIG_HASH: _digest("".join(config["data"].values()))}
    pod["spec"]["containers"][0]["image"] = platform.image(metrics.image)
    service = next(item for item in found if item["kind"] == "Service")
    service["metadata"]["name"], service["spec"]["ports"][0]["port"] = metrics.service, metrics.port
    return others + found


def _may_find_pods(item: Object, namespace: str, account_namespace: str) -> Object:
    fields: dict[str, Any] = {"metadata.namespace": namespace}
    if item["kind"] == "RoleBinding":
        fields["subjects[0].namespace"] = account_namespace
    return k8s.changed(item, fields)


def _configured(platform: Platform, text: str) -> str:
    """Prometheus' configuration for this platform's namespaces and scrape interval."""
    config = yaml.safe_load(text)
    interval = platform.metrics.scrape_interval_seconds
    config["global"] = {
        "scrape_interval": f"{interval}s",
        "scrape_timeout": f"{min(5, interval)}s",
        "evaluation_interval": f"{interval}s",
    }
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    looked_into = {
        "vllm": namespaces(platform),
        "router": namespaces(platform),
        exporters.STATE_METRICS: [platform.metrics.namespace],
        exporters.DCGM: [platform.device_plugin.namespace],
    }
    for name, spaces in looked_into.items():
        jobs[name]["kubernetes_sd_configs"][0]["namespaces"]["names"] = spaces
    unused = {exporters.STATE_METRICS, exporters.DCGM} - set(exporters.wanted(platform))
    services = {"keda-operator": f"keda-operator.{platform.autoscaling.namespace}.svc.cluster.local:8080"}
    if platform.canary and platform.canary.gateway.install == "manifest":
        services["gateway"] = f"gateway.{platform.canary.gateway.namespace}.svc.cluster.local:9091"
    else:
        unused.add("gateway")
    for name, address in services.items():
        jobs[name]["static_configs"][0]["targets"] = [address]
    config["scrape_configs"] = [job for name, job in jobs.items() if name not in unused]
    return yaml.safe_dump(config, sort_keys=False)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def wait_available(book: Notebook) -> None:
    """Watch until our Prometheus is ready; nothing to wait for where one exists.

    Raises:
        TimedOut: with the pod's events and last log lines.
    """
    metrics = book.params.platform.metrics
    if metrics.install != "manifest":
        return
    workloads.wait_running(book, Ref("Deployment", DEPLOYMENT, metrics.namespace), seconds=_START_SECONDS)


def verify(book: Notebook) -> None:
    """Every ready server of ours is a target that is up; notes the check.

    Raises:
        TimedOut: naming the targets and their errors.
    """
    asked, interval = prometheus(book), book.params.platform.metrics.scrape_interval_seconds
    pods = book.cluster.list("Pod", book.namespace, labels=deploy.PODS, fields="status.phase=Running")
    ready = sum(k8s.is_true(pod, "Ready") for pod in pods)
    expression = f'count(vllm:num_requests_running{{namespace="{book.namespace}"}})'

    def reached() -> bool:
        found = asked.query(expression)
        return bool(found) and found[0].value >= ready > 0

    def explain() -> str:
        try:
            targets = asked.targets()
        except RunbookError:  # a front end of a managed one knows queries only
            return f"{ready} servers are ready; it doesn't tell its targets"
        rows = [f"{each['scrapeUrl']}: {each['health']} {each['lastError']}".rstrip() for each in targets]
        return "\n".join([f"{ready} servers are ready", *(rows or ["Prometheus has no target at all"])])

    asked.until(
        "Prometheus scrapes every server", reached, seconds=60 + 4 * interval, every=interval / 4, explain=explain
    )
    book.check("Prometheus scrapes every ready server", True)


#: What to look at: name, query (``%s`` is the namespace), meaning.
QUERIES = (
    ("running", 'sum(vllm:num_requests_running{namespace="%s"})', "requests in the batches"),
    ("waiting", 'sum(vllm:num_requests_waiting{namespace="%s"})', "requests in the queues: what users feel first"),
    ("KV cache", 'max(vllm:kv_cache_usage_perc{namespace="%s"})', "fullest cache, 0 to 1; at 1 requests are preempted"),
    (
        "TTFT p95",
        'histogram_quantile(0.95, sum by (le) (rate(vllm:time_to_first_token_seconds_bucket{namespace="%s"}[1m])))',
        "seconds to the first token, of the last minute; NaN without requests",
    ),
    ("tokens/s", 'sum(rate(vllm:generation_tokens_total{namespace="%s"}[1m]))', "generated, all replicas"),
    (
        "finished/s",
        'sum by (finished_reason) (rate(vllm:request_success_total{namespace="%s"}[1m]))',
        "by reason; abort is no success, in spite of the metric's name",
    ),
)
#: Queries of usual guides that return nothing or nonsense.
WRONG = (
    (
        'avg(rate(vllm_pending_requests_total{job="vllm-inference"}[2m]))',
        "no server has such a metric; an empty answer counts as 0 where ignoreNullValues is true (KEDA's default)",
    ),
    ("vllm:gpu_cache_usage_perc", "renamed to vllm:kv_cache_usage_perc"),
    ("vllm:num_requests_waiting", "one series per replica; KEDA refuses more than one, so it breaks at two replicas"),
)


def queries(book: Notebook) -> Table:
    """The queries with their value now; notes the check."""
    asked, rows = prometheus(book), []
    for name, query, meaning in QUERIES:
        expression = query % book.namespace
        found = asked.query(expression)
        shown = ", ".join(f"{each.value:.3g}" for each in found[:4]) or "(no series)"
        rows.append((name, expression, shown, meaning))
    gauges = [row for row in rows if row[0] in ("running", "waiting", "KV cache")]
    book.check(
        "the gauges have exactly one series each once they are summed", all(row[2] != "(no series)" for row in gauges)
    )
    return Table(("what", "query", "now", "meaning"), rows)


def wrong_queries(book: Notebook) -> Table:
    """What usual guides ask, and what Prometheus says; notes the check."""
    asked = prometheus(book)
    answers = [(expression, len(asked.query(expression)), why) for expression, why in WRONG]
    book.check("the guides' queries return nothing at all", all(count == 0 for _, count, _ in answers[:2]))
    return Table(("query", "series", "why"), answers)
