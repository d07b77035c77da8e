"""One table of all programs: version, official download, Go package."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass

from vllm_sandbox import versions

ARCH = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


@dataclass(frozen=True)
class Download:
    """An official release.

    Attributes:
        url: a binary, or an archive when ``member`` is set.
        checksum_url: a file with the SHA-256, alone or in lines of ``sha256sum``.
        member: path of the program inside the ``.tar.gz``.
    """

    url: str
    checksum_url: str
    member: str | None = None


@dataclass(frozen=True)
class Edit:
    """One change to a source file before a program is built.

    Attributes:
        file: the only source file of its package.
        old, new: text that is there once, and what stands there instead.
        package: another package than the program's own; the edited copy is ``OURS/NAME/<its last part>``, and the
            program's own file must import it from there.
    """

    file: str
    old: str
    new: str
    package: str = ""


@dataclass(frozen=True)
class Tool:
    """A program.

    Attributes:
        name: file name of the program.
        family: directory below tools/ whose go.mod pins it.
        version: as its release is tagged.
        package: Go package of its main function.
        version_args: arguments that make it print its version, to judge one found on PATH; None
            where only the cache is trusted.
        tags, ldflags: for ``go build``.
        edits: changes to its sources before it is built.
    """

    name: str
    family: str
    version: str
    package: str
    download: Download | None = None
    version_args: tuple[str, ...] | None = ("--version",)
    tags: str = ""
    ldflags: str = "-s -w"
    edits: tuple[Edit, ...] = ()


def _kubernetes_ldflags() -> str:
    """Without these, discovery reports v0.0.0 and clients misjudge the server."""
    major, minor, _ = versions.KUBERNETES.lstrip("v").split(".")
    variables = {"gitVersion": versions.KUBERNETES, "gitMajor": major, "gitMinor": minor}
    return " ".join(["-s -w", *(f"-X k8s.io/component-base/version.{k}={v}" for k, v in variables.items())])


def _kubernetes(name: str, version_args: tuple[str, ...] = ("--version",)) -> Tool:
    url = f"https://dl.k8s.io/{versions.KUBERNETES}/bin/linux/{ARCH}/{name}"
    return Tool(
        name,
        "kubernetes",
        versions.KUBERNETES,
        f"k8s.io/kubernetes/cmd/{name}",
        Download(url, f"{url}.sha256"),
        version_args,
        ldflags=_kubernetes_ldflags(),
    )


def _etcd() -> Tool:
    base = f"https://github.com/etcd-io/etcd/releases/download/{versions.ETCD}"
    folder = f"etcd-{versions.ETCD}-linux-{ARCH}"
    download = Download(f"{base}/{folder}.tar.gz", f"{base}/SHA256SUMS", f"{folder}/etcd")
    return Tool("etcd", "kubernetes", versions.ETCD, "go.etcd.io/etcd/server/v3", download)


def _kwok(name: str) -> Tool:
    url = f"https://github.com/kubernetes-sigs/kwok/releases/download/{versions.KWOK}/{name}-linux-{ARCH}"
    ldflags = f"-s -w -X sigs.k8s.io/kwok/pkg/consts.Version={versions.KWOK}"
    return Tool(
        name, "kwok", versions.KWOK, f"sigs.k8s.io/kwok/cmd/{name}", Download(url, f"{url}.sha256"), ldflags=ldflags
    )


def _prometheus(name: str) -> Tool:
    number = versions.PROMETHEUS.lstrip("v")
    base = f"https://github.com/prometheus/prometheus/releases/download/{versions.PROMETHEUS}"
    folder = f"prometheus-{number}.linux-{ARCH}"
    return Tool(
        name,
        "prometheus",
        versions.PROMETHEUS,
        f"github.com/prometheus/prometheus/cmd/{name}",
        Download(f"{base}/{folder}.tar.gz", f"{base}/sha256sums.txt", f"{folder}/{name}"),
        tags="remove_all_sd,enable_kubernetes_sd",
        ldflags=f"-s -w -X github.com/prometheus/common/version.Version={number}",
    )


#: KEDA's metrics server serves its own metrics on every address of the machine, and no flag says otherwise.
_ADAPTER_ON_POD_ADDRESS = Edit(
    "main.go",
    'metricsBindAddress := fmt.Sprintf(":%v", metricsAPIServerPort)',
    'metricsBindAddress := fmt.Sprintf("%s:%v", os.Getenv("SANDBOX_POD_IP"), metricsAPIServerPort)',
)


def _keda(name: str, command: str, *edits: Edit) -> Tool:
    # released as images only, so there is nothing to download
    package = f"github.com/kedacore/keda/v2/cmd/{command}"
    ldflags = f"-s -w -X github.com/kedacore/keda/v2/version.Version={versions.KEDA.lstrip('v')}"
    return Tool(name, "keda", versions.KEDA, package, version_args=None, ldflags=ldflags, edits=edits)


def _karpenter() -> Tool:
    """Karpenter with its kwok provider, whose program is called kwok upstream.

    It serves its metrics and health on every address of the machine, and no option says otherwise.
    """
    operator = "sigs.k8s.io/karpenter/pkg/operator"
    ours = "vllm-runbook/tools/karpenter/karpenter-kwok/operator"

    def on_pod_address(option: str) -> Edit:
        call = f"options.FromContext(ctx).{option})"
        new = f'fmt.Sprintf("%s:%d", os.Getenv("SANDBOX_POD_IP"), {call}'
        return Edit("operator.go", f'fmt.Sprintf(":%d", {call}', new, operator)

    return Tool(
        "karpenter-kwok",
        "karpenter",
        versions.KARPENTER,
        "sigs.k8s.io/karpenter/kwok",
        version_args=None,
        ldflags=f"-s -w -X {ours}.Version={versions.KARPENTER.lstrip('v')}",
        edits=(
            Edit("main.go", f'"{operator}"', f'"{ours}"'),
            on_pod_address("MetricsPort"),
            on_pod_address("HealthProbePort"),
            Edit("operator.go", '\t"net/http/pprof"\n', '\t"net/http/pprof"\n\t"os"\n', operator),
        ),
    )


def _kube_state_metrics() -> Tool:
    # released as images only
    name, version = "kube-state-metrics", versions.KUBE_STATE_METRICS
    ldflags = f"-s -w -X github.com/prometheus/common/version.Version={version}"
    return Tool(name, name, version, "k8s.io/kube-state-metrics/v2", version_args=None, ldflags=ldflags)


def _helm() -> Tool:
    url = f"https://get.helm.sh/helm-{versions.HELM}-linux-{ARCH}.tar.gz"
    return Tool(
        "helm",
        "helm",
        versions.HELM,
        "helm.sh/helm/v4/cmd/helm",
        Download(url, f"{url}.sha256sum", f"linux-{ARCH}/helm"),
        version_args=("version", "--short"),
        ldflags=f"-s -w -X helm.sh/helm/v4/internal/version.version={versions.HELM}",
    )


TOOLS: Mapping[str, Tool] = {
    tool.name: tool
    for tool in (
        _etcd(),
        _kubernetes("kube-apiserver"),
        _kubernetes("kube-controller-manager"),
        _kubernetes("kube-scheduler"),
        _kubernetes("kubectl", version_args=("version", "--client")),
        _kwok("kwok"),
        _kwok("kwokctl"),
        _prometheus("prometheus"),
        _prometheus("promtool"),
        _keda("keda-operator", "operator"),
        _keda("keda-adapter", "adapter", _ADAPTER_ON_POD_ADDRESS),
        _karpenter(),
        _kube_state_metrics(),
        _helm(),
    )
}
"""Every program by its file name."""

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kwok", "kwokctl")
"""What ``runbook sandbox up`` needs; the rest is fetched when a step first asks for it."""
