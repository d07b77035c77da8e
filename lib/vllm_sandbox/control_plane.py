"""The real control plane: etcd, API server, controller manager and scheduler through kwokctl."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import select
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vllm_sandbox.config import SandboxConfig
from vllm_sandbox.errors import SandboxError

COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
#: User of the sandbox's kubeconfig.
ADMINISTRATOR = "sandbox-admin"
READY_S = 60.0
POLL_MS = 100


@dataclass(frozen=True)
class ControlPlane:
    """One control plane in a directory of its own.

    Attributes:
        name: of the sandbox; its kubeconfig's context is ``sandbox-<name>``.
        directory: the sandbox's directory.
    """

    name: str
    directory: Path

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "kubeconfig"

    @property
    def tokens(self) -> Path:
        """The administrator's bearer token, as the API server reads it."""
        return self.directory / "tokens.csv"

    @property
    def egress_socket(self) -> Path:
        return self.directory / "egress.sock"

    @property
    def pki(self) -> Path:
        return self._cluster / "pki"

    @property
    def _cluster(self) -> Path:
        return self.directory / "kwok" / "clusters" / self.name

    def log_file(self, component: str) -> Path:
        return self._cluster / "logs" / f"{component}.log"

    def pids(self) -> dict[str, int]:
        """Process ids of the components that were started."""
        found = {}
        for component in COMPONENTS:
            with contextlib.suppress(FileNotFoundError, ValueError):
                found[component] = int((self._cluster / "pids" / f"{component}.pid").read_text())
        return found

    # -- start -------------------------------------------------------------------------------

    def start(self, config: SandboxConfig, binaries: Mapping[str, Path], marker: Mapping[str, str]) -> None:
        """Start it and wait until the API server is ready.

        Args:
            marker: environment variables that every process of this sandbox carries.

        Raises:
            SandboxError: a component died or wasn't ready in time; quotes its last log lines.
        """
        token = secrets.token_urlsafe(32)
        _write_private(self.tokens, f'{token},{ADMINISTRATOR},{ADMINISTRATOR},"system:masters"\n')
        (self.directory / "egress.yaml").write_text(yaml.safe_dump(self._egress()))
        options = self.directory / "kwokctl.yaml"
        options.write_text(yaml.safe_dump(self._options(config, binaries), sort_keys=False))
        command = [str(binaries["kwokctl"]), "--config", str(options), "create", "cluster", "--name", self.name]
        command += ["--kubeconfig", str(self.directory / "kwok" / "kubeconfig"), "--disable", "kwok-controller"]
        env = {**os.environ, **marker, "KWOK_WORKDIR": str(self.directory / "kwok")}
        made = subprocess.run(command, env=env, capture_output=True, text=True, start_new_session=True)
        if made.returncode:
            raise SandboxError(
                "kwokctl could not create the control plane", why="\n".join(made.stderr.strip().splitlines()[-5:])
            )
        self._write_kubeconfig(token)
        self._wait_ready(token)

    def _options(self, config: SandboxConfig, binaries: Mapping[str, Path]) -> dict[str, Any]:
        admin = {"crt": str(self.pki / "admin.crt"), "key": str(self.pki / "admin.key")}
        return {
            "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
            "kind": "KwokctlConfiguration",
            "options": {
                "runtime": "binary",
                "bindAddress": "127.0.0.1",
                "kubectlBinary": str(binaries["kubectl"]),
                "etcdBinary": str(binaries["etcd"]),
                "kubeApiserverBinary": str(binaries["kube-apiserver"]),
                "kubeControllerManagerBinary": str(binaries["kube-controller-manager"]),
                "kubeSchedulerBinary": str(binaries["kube-scheduler"]),
                "kwokControllerBinary": str(binaries["kwok"]),
            },
            "componentsPatches": [
                _patch(
                    "kube-apiserver",
                    {
                        "service-cluster-ip-range": config.service_cidr,
                        "egress-selector-config-file": str(self.directory / "egress.yaml"),
                        # a certificate's chain is verified anew for each request; a token is looked up
                        "token-auth-file": str(self.tokens),
                        # the aggregation layer, for KEDA's metrics
                        "enable-aggregator-routing": "true",
                        "requestheader-client-ca-file": str(self.pki / "ca.crt"),
                        "requestheader-allowed-names": "kwok-admin",
                        "requestheader-username-headers": "X-Remote-User",
                        "requestheader-group-headers": "X-Remote-Group",
                        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
                        # the node agent answers only to who shows this certificate
                        "kubelet-client-certificate": admin["crt"],
                        "kubelet-client-key": admin["key"],
                    },
                ),
                _patch(
                    "kube-controller-manager",
                    {
                        "horizontal-pod-autoscaler-sync-period": "5s",
                        "node-monitor-period": "5s",
                        "node-monitor-grace-period": f"{config.node_grace_seconds}s",
                    },
                ),
            ],
        }

    def _egress(self) -> dict[str, Any]:
        """Whatever the API server calls inside the cluster goes through the sandbox's proxy."""
        uds = {"udsName": str(self.egress_socket)}
        connection = {"proxyProtocol": "HTTPConnect", "transport": {"uds": uds}}
        return {
            "apiVersion": "apiserver.k8s.io/v1beta1",
            "kind": "EgressSelectorConfiguration",
            "egressSelections": [{"name": "cluster", "connection": connection}],
        }

    def _write_kubeconfig(self, token: str) -> None:
        """One context, ``sandbox-<name>``, with everything inline."""
        made = yaml.safe_load((self.directory / "kwok" / "kubeconfig").read_text())
        server = made["clusters"][0]["cluster"]["server"]
        authority = base64.b64encode((self.pki / "ca.crt").read_bytes()).decode()
        context = f"sandbox-{self.name}"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": context,
            "contexts": [{"name": context, "context": {"cluster": context, "user": context}}],
            "clusters": [{"name": context, "cluster": {"server": server, "certificate-authority-data": authority}}],
            "users": [{"name": context, "user": {"token": token}}],
        }
        _write_private(self.kubeconfig, yaml.safe_dump(config, sort_keys=False))

    @property
    def server(self) -> str:
        """Address of the API server."""
        return str(yaml.safe_load(self.kubeconfig.read_text())["clusters"][0]["cluster"]["server"])

    # -- health ------------------------------------------------------------------------------

    def _wait_ready(self, token: str) -> None:
        tls = ssl.create_default_context(cafile=str(self.pki / "ca.crt"))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls))
        opener.addheaders = [("Authorization", f"Bearer {token}")]
        deadline = time.monotonic() + READY_S
        answer = "no answer"
        with self._watched() as deaths:
            while time.monotonic() < deadline:
                try:
                    opener.open(f"{self.server}/readyz", timeout=5).close()
                    return
                except urllib.error.HTTPError as error:
                    answer = error.read().decode(errors="replace")
                except OSError as error:
                    answer = str(error)
                if dead := deaths(POLL_MS):
                    raise self.death_of(dead)
        raise SandboxError(f"the API server wasn't ready within {READY_S:g} s", why=answer[-1000:])

    @contextlib.contextmanager
    def _watched(self) -> Iterator[Any]:
        """Yields ``deaths(timeout_ms)``: the first component that has ended, as soon as it does."""
        handles: dict[int, str] = {}
        poller = select.poll()
        try:
            for component, pid in self.pids().items():
                try:
                    handle = os.pidfd_open(pid)
                except ProcessLookupError:
                    raise self.death_of(component) from None
                handles[handle] = component
                poller.register(handle, select.POLLIN)

            def deaths(timeout_ms: int) -> str | None:
                return next((handles[handle] for handle, _ in poller.poll(timeout_ms)), None)

            yield deaths
        finally:
            for handle in handles:
                os.close(handle)

    def death_of(self, component: str) -> SandboxError:
        """The error for a component that has ended, with its last words."""
        return SandboxError(
            f"{component} has ended",
            why=last_lines(self.log_file(component)),
            next_step=f"the whole log: {self.log_file(component)}",
        )


def last_lines(file: Path, count: int = 12) -> str:
    """The end of a log, for a person who wants to know why."""
    if not file.is_file():
        return f"(no log at {file})"
    return "\n".join(line[:400] for line in file.read_text(errors="replace").splitlines()[-count:])


def _write_private(file: Path, text: str) -> None:
    """Write what only the user may read."""
    file.touch(mode=0o600)
    file.write_text(text)


def _patch(component: str, arguments: Mapping[str, str]) -> dict[str, Any]:
    """Added to kwokctl's own arguments; of two equal flags the components take the last one.

    ``override`` would only replace what kwokctl passes anyway, and drop the rest with a warning.
    """
    return {"name": component, "extraArgs": [{"key": key, "value": value} for key, value in arguments.items()]}
