"""What the rules need of the parameters, and how they write commands."""

from __future__ import annotations

from dataclasses import dataclass

from ..params import Params


@dataclass(frozen=True)
class Context:
    """What the parameters say, for causes and commands.

    Attributes:
        run: begins a command that runs a notebook, e.g. ``runbook run 02 --platform eks --model qwen3-8b``.
    """

    namespace: str
    platform: str
    model: str
    kube_context: str = ""
    resource: str = "nvidia.com/gpu"
    label_key: str = "hardware-type"
    label_value: str = "nvidia-gpu"
    plugin_namespace: str = "kube-system"
    keda_namespace: str = "keda"
    metrics_namespace: str = "monitoring"
    hub_endpoint: str = "https://huggingface.co"
    token_secret: str = "hf-token"

    def run(self, number: str, *overrides: str) -> str:
        """A command that runs a notebook, with overrides of parameters."""
        more = "".join(f" -p {each}" for each in overrides)
        return f"runbook run {number} --platform {self.platform} --model {self.model}{more}"

    def kubectl(self, words: str, namespace: str | None = "") -> str:
        """A kubectl command, in the examined namespace unless another (None: no) one is given."""
        place = "" if namespace is None else f"-n {namespace or self.namespace} "
        named = f"--context {self.kube_context} " if self.kube_context else ""
        return f"kubectl {named}{place}{words}"


def context_of(params: Params) -> Context:
    """What the rules need of the parameters."""
    platform = params.platform
    return Context(
        namespace=platform.namespace,
        platform=params.files["platform"].stem if params.files else platform.name,
        model=params.files["model"].stem if params.files else params.model.name,
        kube_context=platform.kubernetes.context or "",
        resource=platform.gpu.resource,
        label_key=platform.gpu.node_label.key,
        label_value=platform.gpu.node_label.value,
        plugin_namespace=platform.device_plugin.namespace,
        keda_namespace=platform.autoscaling.namespace,
        metrics_namespace=platform.metrics.namespace,
        hub_endpoint=platform.hub.endpoint,
        token_secret=platform.hub.token_secret.name,
    )
