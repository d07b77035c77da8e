"""The images that the sandbox knows from the start."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from vllm_sandbox.errors import SandboxError
from vllm_sandbox.images.registry import (
    SHELL,
    Context,
    Image,
    Program,
    UnknownExecutable,
    binary,
    host,
    python,
    register,
)
from vllm_sandbox.real_vllm import install
from vllm_sandbox.vllm.faults import FAULTS

_VLLM, _REAL_VLLM = "vllm_sandbox.vllm", "vllm_sandbox.real_vllm.start"
#: Where images come from that exist in the sandbox only.
OWN = "sandbox.vllm-runbook.dev"


def _python_module(modules: dict[str, Program]) -> Program:
    """``python3 -m MODULE …`` where only some modules exist in the image."""

    def run(args: list[str], context: Context) -> list[str]:
        if len(args) < 2 or args[0] != "-m" or args[1] not in modules:
            raise UnknownExecutable(f"python3 {' '.join(args[:2])}: the sandbox's image only has {sorted(modules)}")
        return modules[args[1]](args[2:], context)

    return run


def _with(word: str, program: Program) -> Program:
    """A program with one word before its arguments."""
    return lambda args, context: program([word, *args], context)


def register_all(modules: Iterable[str] = (), engine: str = "simulated") -> None:
    """Fill the registry, the user's modules last; called once by the node agent.

    Args:
        engine: which vLLM: ``simulated``, or ``vllm`` for the real one.

    Raises:
        SandboxError: a module can't be imported.
    """
    _register_vllm(engine)
    _register_known()
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:
            raise SandboxError(
                f"the images of module {module} can't be registered",
                why=f"{type(error).__name__}: {error}",
                next_step="Is the module's directory on PYTHONPATH? See docs/images.md.",
            ) from error


def _register_vllm(engine: str) -> None:
    real = engine == "vllm"
    # where it is is said here: a container has a home, and so a cache, of its own
    vllm = python(_REAL_VLLM, str(install.directory() / "bin")) if real else python(_VLLM)
    api_server = _with("api-server", vllm)
    interpreter = _python_module({"vllm.entrypoints.openai.api_server": api_server})
    register(
        Image(
            "vllm/vllm-openai",
            entrypoint=("vllm", "serve"),
            programs={**SHELL, "vllm": vllm, "python3": interpreter, "python": interpreter},
            tags=r"latest|v0\.\d+\.\d+(-[\w.]+)?",
            simulated=not real,
        )
    )
    for fault in FAULTS:
        broken = {"vllm": python(_VLLM, f"--fault={fault}"), **SHELL}
        name = f"{OWN}/vllm-openai-{fault}"
        register(Image(name, entrypoint=("vllm", "serve"), programs=broken, tags=r"v\d+(\.\d+)*", simulated=True))


def _register_known() -> None:
    gateway = {"gateway": python("vllm_sandbox.gateway")}
    register(Image(f"{OWN}/gateway", entrypoint=("gateway",), programs={**SHELL, **gateway}, simulated=True, user=1000))
    register(
        Image(
            "nvcr.io/nvidia/k8s-device-plugin",
            entrypoint=("nvidia-device-plugin",),
            programs={"nvidia-device-plugin": python("vllm_sandbox.images.device_plugin")},
            tags=r"v0\.\d+\.\d+(-[\w.]+)?",
            simulated=True,
        )
    )
    register(
        Image(
            "nvcr.io/nvidia/k8s/dcgm-exporter",
            entrypoint=("dcgm-exporter",),
            programs={"dcgm-exporter": python("vllm_sandbox.images.dcgm_exporter")},
            tags=r"\d+\.\d+\.\d+-\d+\.\d+\.\d+-[\w.]+",
            simulated=True,
        )
    )
    for name in ("busybox", "alpine", "debian", "ubuntu", "registry.k8s.io/e2e-test-images/busybox"):
        register(Image(name, entrypoint=("sh",), programs={"*": host("sh"), **SHELL}))
    register(
        Image("registry.k8s.io/pause", entrypoint=("sleep",), cmd=("infinity",), programs={"sleep": host("sleep")})
    )
    register(
        Image(
            "ghcr.io/vllm-runbook/runbook",
            entrypoint=("runbook",),
            programs={**SHELL, "runbook": python("runbook_cli.main"), "python": _this_python, "python3": _this_python},
        )
    )
    register(
        Image(
            "quay.io/prometheus/prometheus",
            entrypoint=("prometheus",),
            cmd=("--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"),
            programs={**SHELL, "prometheus": _prometheus, "promtool": binary("promtool")},
        )
    )
    for name, command, program in (
        ("keda", "/keda", _keda_operator),
        ("keda-metrics-apiserver", "/keda-adapter", _keda_adapter),
    ):
        register(Image(f"ghcr.io/kedacore/{name}", entrypoint=(command,), programs={command: program}, user=1000))
    state_metrics = {"/kube-state-metrics": _kube_state_metrics}
    name = "registry.k8s.io/kube-state-metrics/kube-state-metrics"
    register(Image(name, entrypoint=("/kube-state-metrics",), programs=state_metrics, user=65534))
    # the real Karpenter with a simulated cloud: its kwok provider creates the Node objects that the node agent plays
    karpenter = {"karpenter-kwok": binary("karpenter-kwok")}
    register(Image("ghcr.io/vllm-runbook/karpenter-kwok", entrypoint=("karpenter-kwok",), programs=karpenter))
    register(Image("registry.k8s.io/kwok/kwok", entrypoint=("kwok",), programs={"kwok": _kwok}))


def _this_python(args: list[str], context: Context) -> list[str]:
    """This Python; the router listens on the pod's address instead of every address."""
    own = [f"--host={context.pod_ip}"] if args[:2] == ["-m", "vllm_runbook.router"] else []
    return [sys.executable, *args, *own]


def _prometheus(args: list[str], context: Context) -> list[str]:
    """Prometheus on the pod's address instead of every address, and with the pod's kubeconfig.

    Inside a cluster it finds the API server by fixed paths, which a process on this machine doesn't have.
    """
    listen = next((a.partition("=")[2] for a in args if a.startswith("--web.listen-address=")), ":9090")
    port = listen.rpartition(":")[2]
    kept = [a for a in args if not a.startswith(("--web.listen-address=", "--config.file="))]
    named = next(
        (a.partition("=")[2] for a in args if a.startswith("--config.file=")), "/etc/prometheus/prometheus.yml"
    )
    file = Path(context.env["TMPDIR"]) / "prometheus.yml"
    config = _with_kubeconfig(yaml.safe_load(Path(named).read_text()), context.env)
    # relative ones are looked for beside the configuration, which is elsewhere now
    config["rule_files"] = [str(Path(named).parent / rules) for rules in config.get("rule_files", ())]
    file.write_text(yaml.safe_dump(config))
    listen = f"--web.listen-address={context.pod_ip}:{port}"
    return [str(context.binary("prometheus")), f"--config.file={file}", listen, *kept]


def _kwok(args: list[str], context: Context) -> list[str]:
    """KWOK's controller, on the pod's address; the pod's kubeconfig it finds by itself (KUBECONFIG)."""
    return [str(context.binary("kwok")), *args, f"--server-address={context.pod_ip}:10247"]


def _kube_state_metrics(args: list[str], context: Context) -> list[str]:
    """kube-state-metrics on the pod's address, with the pod's kubeconfig."""
    listen = [f"--host={context.pod_ip}", f"--telemetry-host={context.pod_ip}"]
    return [str(context.binary("kube-state-metrics")), *args, *listen, f"--kubeconfig={context.env['KUBECONFIG']}"]


def _with_kubeconfig(config: Any, env: Mapping[str, str]) -> Any:
    for job in config.get("scrape_configs", []):
        for discovery in job.get("kubernetes_sd_configs", []):
            discovery.setdefault("kubeconfig_file", env.get("KUBECONFIG", ""))
    return config


def _keda_operator(args: list[str], context: Context) -> list[str]:
    """KEDA's operator, on the pod's address; its namespace by variable, since the file of a real pod isn't there."""
    ports = {"metrics": 8080, "health-probe": 8081, "metrics-service": 9666}
    listen = [f"--{name}-bind-address={context.pod_ip}:{port}" for name, port in ports.items()]
    namespace = f"KEDA_CLUSTER_OBJECT_NAMESPACE={context.env['POD_NAMESPACE']}"
    return ["/usr/bin/env", namespace, str(context.binary("keda-operator")), *args, *listen]


def _keda_adapter(args: list[str], context: Context) -> list[str]:
    """KEDA's metrics API server, on the pod's address.

    It reaches the operator by gRPC through the sandbox's proxy, so the name in the certificate is given to it.
    """
    namespace = context.env["POD_NAMESPACE"]
    kubeconfig = context.env["KUBECONFIG"]
    more = [f"--{name}-kubeconfig={kubeconfig}" for name in ("lister", "authentication", "authorization")]
    authority = f"--metrics-service-grpc-authority=keda-operator.{namespace}.svc.cluster.local"
    bind = f"--bind-address={context.pod_ip}"
    return [str(context.binary("keda-adapter")), *args, *more, authority, bind]
