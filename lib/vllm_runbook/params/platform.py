"""The fields of ``params/platforms/*.yaml``: everything that differs between clusters."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .canary import Canary
from .monitoring import Monitoring
from .names import AccessMode, Cidr, Image, Name, Quantity, Version
from .schema import KeyValue, Positive, SecretRef, Strict, Toleration
from .spot import Spot


class Kubernetes(Strict):
    """Which API server: a context of a kubeconfig file, or (context null) the cluster we run in.

    ``pod_context`` is the context that the cluster's own pods use: null, their service account, but in a sandbox, whose
    pods find a kubeconfig.
    """

    context: str | None = None
    pod_context: str | None = None
    kubeconfig: str | None = None


class DevicePlugin(Strict):
    """How GPUs become ``nvidia.com/gpu`` on the nodes.

    ``managed``: the platform does it and a second plugin would only be in the way; ``helm``: by the
    vendor's chart; ``manifest``: by our own DaemonSet. ``runtime_class``: where NVIDIA's container runtime isn't the
    nodes' default one, the RuntimeClass that the plugin and every pod with GPUs must name.
    """

    mode: Literal["managed", "helm", "manifest"]
    namespace: Name = "kube-system"
    repo: str = "https://nvidia.github.io/k8s-device-plugin"
    chart: str = "nvdp/nvidia-device-plugin"
    version: Version
    image: Image
    runtime_class: Name | None = None
    node_selector: dict[str, str] = Field(default_factory=dict)


class Gpu(Strict):
    """The GPUs of one node. ``memory_gib`` is what the driver reports (nvidia-smi), per GPU.

    Servers go to labelled nodes; where ``instance_types`` or ``zones`` are given, only to those among them: types whose
    GPUs have at least this memory, zones in which the volumes can be mounted.
    """

    node_label: KeyValue
    instance_types: list[str] = Field(default_factory=list)
    zones: list[str] = Field(default_factory=list)
    resource: str = "nvidia.com/gpu"
    product: str
    memory_gib: float = Field(gt=0, le=1024)
    per_node: int = Field(ge=1, le=16)
    tolerations: list[Toleration] = Field(default_factory=list)


class AccessModes(Strict):
    """Access modes of the claim while the weights are written (fill) and while servers read them (serve)."""

    fill: AccessMode
    serve: AccessMode


class Storage(Strict):
    """Where the weights live.

    ``shared``: one read-write-many claim, filled by a Job, mounted read-only by servers.
    ``prefilled``: a disk filled by a Job on one node, then copied (``copy_by``) to a claim that many
    nodes may read. ``per_node``: a directory on every GPU node (``node_path``), filled by a DaemonSet.
    ``fill_on`` gpu_nodes sends that Job where servers go: for disks that not every machine type can attach, or that
    stay in the zone where they were first mounted.

    ``read_mib_per_second`` is what one node may expect while it loads; it decides how long a start takes.
    """

    strategy: Literal["shared", "prefilled", "per_node"]
    class_name: Name = Field(alias="class")
    serve_class: Name | None = None
    access_modes: AccessModes
    fill_on: Literal["any", "gpu_nodes"] = "any"
    copy_by: Literal["clone", "snapshot"] | None = None
    snapshot_class: Name | None = None
    node_path: str | None = Field(default=None, pattern="^/")
    size: Quantity | None = None
    min_size_gib: int = Field(default=1, ge=1)
    read_mib_per_second: Positive

    @model_validator(mode="after")
    def _strategy_is_complete(self) -> Self:
        modes = self.access_modes
        if self.strategy == "shared" and modes.fill != "ReadWriteMany":
            raise ValueError("strategy shared needs access_modes.fill ReadWriteMany: many nodes mount the same claim")
        if modes.fill == "ReadOnlyMany":
            raise ValueError("access_modes.fill can't be ReadOnlyMany: nobody could write the weights")
        if self.strategy == "prefilled" and (modes.serve != "ReadOnlyMany" or self.copy_by is None):
            raise ValueError("strategy prefilled needs access_modes.serve ReadOnlyMany and copy_by clone or snapshot")
        if self.copy_by == "snapshot" and self.snapshot_class is None:
            raise ValueError("copy_by snapshot needs snapshot_class")
        if self.strategy == "per_node" and self.node_path is None:
            raise ValueError("strategy per_node needs node_path, a directory on the nodes")
        return self


class Hub(Strict):
    """The model hub. ``download_mib_per_second`` is a cautious rate for one download Job."""

    endpoint: str = Field(pattern="^https?://")
    token_secret: SecretRef
    download_mib_per_second: Positive = 100


class ApiKey(Strict):
    """The key that clients of the servers' /v1 must send; /health and /metrics need none.

    The Secret is made once, at random, or from VLLM_API_KEY in the environment of whoever runs notebook 04.
    """

    enabled: bool = True
    secret: SecretRef = SecretRef(name="vllm-api-key", key="key")


class Network(Strict):
    """Who reaches the servers' port, beside Prometheus and the load generator.

    ``clients``: namespaces of gateways and callers. ``control_plane``: addresses that the API server's proxied
    requests come from, for who wants ``kubectl get --raw …/proxy/`` where the network plugin holds them back
    (docs/security.md). ``policies`` false leaves NetworkPolicies out altogether.
    """

    policies: bool = True
    clients: list[Name] = Field(default_factory=list)
    control_plane: list[Cidr] = Field(default_factory=list)


Mirror = Annotated[
    str, Field(pattern=r"^[^\s/]+(/[^\s/]+)*$", description="a registry, with a path or without: mirror.example/cache")
]


class Images(Strict):
    """Container images, always pinned (``latest`` is refused), and where they are pulled from.

    With ``mirror`` every image comes from there, by its name without the host. Caches that have a prefix for each
    upstream registry (ECR, Artifact Registry) are given in ``mirrors``: host of the upstream to prefix, docker.io for
    names without a host. What is in neither is pulled from where it is published.
    """

    vllm: Image
    runbook: Image
    mirror: Mirror | None = None
    mirrors: dict[str, Mirror] = Field(default_factory=dict)

    def pulled(self, reference: str) -> str:
        """An image reference as nodes pull it. One that names a mirror already stays as it is."""
        if any(reference.startswith(f"{mirror}/") for mirror in (self.mirror, *self.mirrors.values()) if mirror):
            return reference
        first, _, rest = reference.partition("/")
        has_host = bool(rest) and ("." in first or ":" in first or first == "localhost")
        host, name = (first, rest) if has_host else ("docker.io", reference)
        if host in self.mirrors:
            # a cache knows Docker Hub's official images by their full name
            return f"{self.mirrors[host]}/{name if has_host or rest else f'library/{name}'}"
        return f"{self.mirror}/{name}" if self.mirror else reference


class Metrics(Strict):
    """The Prometheus that the autoscaler asks, and whether this runbook installs it.

    ``discovery`` is how it learns of the pods: ``pods`` by its own configuration (ours does, so installed by us it
    needs no other), ``annotations`` by the ``prometheus.io/*`` annotations that many charts and Azure's
    add-on can look for, ``pod_monitor`` by the Prometheus operator, ``pod_monitoring`` by Google's managed collection.
    It must answer in the cluster, without a login, at ``service``: a managed one needs a front end for that.
    """

    install: Literal["existing", "manifest"]
    discovery: Literal["pods", "annotations", "pod_monitor", "pod_monitoring"] = "pods"
    pod_monitor_labels: dict[str, str] = Field(default_factory=dict)
    namespace: Name = "monitoring"
    service: Name = "prometheus-server"
    port: int = Field(default=9090, ge=1, le=65535)
    image: Image
    scrape_interval_seconds: int = Field(default=15, ge=1, le=300)

    @property
    def server_address(self) -> str:
        """The address from inside the cluster, as KEDA's trigger wants it."""
        return f"http://{self.service}.{self.namespace}.svc.cluster.local:{self.port}"


class KedaImages(Strict):
    """Images of KEDA's two programs, instead of the release's."""

    operator: Image
    metrics_server: Image


class Autoscaling(Strict):
    """KEDA, whether this runbook installs it, and what it is told.

    ``policy``: ``queue`` scales on requests that wait, ``concurrency`` on requests that wait or run; the
    ``*_per_replica`` values are what one replica may have of them. ``min_replicas`` 0 frees the GPUs while
    nobody asks, and the next caller waits for a whole start.
    """

    install: Literal["existing", "manifest", "helm"]
    namespace: Name = "keda"
    version: Version
    images: KedaImages | None = None
    repo: str = "https://kedacore.github.io/charts"
    policy: Literal["queue", "concurrency"] = "concurrency"
    queue_per_replica: Positive = 5
    concurrency_per_replica: Positive = 16
    min_replicas: int = Field(default=1, ge=0, le=100)
    max_replicas: Positive = 10
    polling_seconds: int = Field(default=15, ge=1, le=300)
    scale_down_seconds: int = Field(default=300, ge=0, le=3600)

    @model_validator(mode="after")
    def _range_is_one(self) -> Self:
        if self.max_replicas < max(1, self.min_replicas):
            raise ValueError("max_replicas is below min_replicas")
        if self.images is not None and self.install != "manifest":
            raise ValueError("images are those of install manifest; a chart or an existing KEDA brings its own")
        return self


class Provisioning(Strict):
    """Karpenter, which brings GPU nodes when pods wait for them.

    ``install``: ``existing`` where the cluster has it, with pools of its own; ``none`` where nodes come from
    elsewhere (node groups, cluster autoscaler); ``manifest`` installs it with its kwok provider, whose nodes exist
    in a sandbox only.
    """

    install: Literal["existing", "manifest", "none"] = "none"
    namespace: Name = "karpenter"


class Rollout(Strict):
    """How a new version replaces the old one.

    ``max_surge`` pods more than wanted for a while, each with GPUs of its own; where none are spare: 0, and
    ``max_unavailable`` 1 pod less instead.
    """

    max_surge: int = Field(default=1, ge=0)
    max_unavailable: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _something_moves(self) -> Self:
        if not self.max_surge and not self.max_unavailable:
            raise ValueError("max_surge and max_unavailable can't both be 0: nothing could ever be replaced")
        return self


class Rehearsal(Strict):
    """What may be put on this cluster to rehearse with; on a cluster that serves somebody the answer is no.

    ``load``: load generators, which keep GPUs busy; ``outage``: the usual guide's deployment beside ours, driven
    until it breaks; ``crowd``: nodes and pods played by KWOK, thousands of them; ``drills``: one thing at a time
    broken on purpose, for somebody to find and mend.

    What some drills need, and are left out without: ``stop_kubelet_annotation``, by which a node's kubelet is stopped
    (value ``stopped``); ``private_registry`` and ``limited_registry``, which have every image and give it to nobody
    without a login, the second with 429; ``no_access_token``, a token of the hub whose owner was granted no gated
    model; ``disk_class``, a storage class of disks that one node mounts.
    """

    load: bool = False
    outage: bool = False
    crowd: bool = False
    drills: bool = False
    stop_kubelet_annotation: str | None = None
    private_registry: str | None = None
    limited_registry: str | None = None
    no_access_token: str | None = None
    disk_class: Name | None = None


class Results(Strict):
    """The claim with the reports of the nightly verification (``runbook schedule``): about 5 MiB each."""

    size: Quantity = "2Gi"
    class_name: Name | None = Field(default=None, alias="class")


class Platform(Strict):
    """One cluster.

    ``registry`` names the file of params/registry with the models that notebook 13 serves together (or is a path);
    null: there are none.
    ``request_memory_mib`` is the host memory that a server holds for one request, running or waiting: it grows with
    prompts (images above all), so measure yours. ``time_scale`` is 1 everywhere but in a sandbox, where long
    durations are divided by it.
    """

    name: Name
    title: str = Field(min_length=1)
    notice: str | None = None
    kubernetes: Kubernetes = Kubernetes()
    namespace: Name = "llm"
    device_plugin: DevicePlugin
    gpu: Gpu
    storage: Storage
    hub: Hub
    images: Images
    api_key: ApiKey = ApiKey()
    network: Network = Network()
    metrics: Metrics
    monitoring: Monitoring = Monitoring()
    autoscaling: Autoscaling
    provisioning: Provisioning = Provisioning()
    spot: Spot | None = None
    canary: Canary | None = None
    rollout: Rollout = Rollout()
    rehearsal: Rehearsal = Rehearsal()
    results: Results = Results()
    registry: str | None = Field(default=None, min_length=1)
    request_memory_mib: float = Field(default=2, gt=0)
    time_scale: float = Field(default=1, ge=1)

    @property
    def rules_by(self) -> Literal["config_map", "prometheus_rule", "none"]:
        """How rules get to Prometheus: beside ours' configuration, as an object of the operator's, or not by us."""
        if not self.monitoring.rules:
            return "none"
        if self.metrics.install == "manifest":
            return "config_map"
        return "prometheus_rule" if self.metrics.discovery == "pod_monitor" else "none"

    @property
    def naive_namespace(self) -> str:
        """Where the usual guide's deployment is rehearsed, apart from ours."""
        return f"{self.namespace}-naive"

    @property
    def models_namespace(self) -> str:
        """Where the models of a registry are served (notebook 13), apart from the one of notebook 04."""
        return f"{self.namespace}-models"

    def image(self, reference: str) -> str:
        """An image reference as this platform pulls it."""
        return self.images.pulled(reference)
