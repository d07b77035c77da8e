"""From a container's spec to a process: environment, rewritten paths, kubeconfig, limits."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm_sandbox.images.registry import Context, Image, command_line, find
from vllm_sandbox.kube import ApiError, path
from vllm_sandbox.node import devices
from vllm_sandbox.node.environment import ConfigError, expand, resolve
from vllm_sandbox.node.mounts import Mount
from vllm_sandbox.node.process import Start
from vllm_sandbox.node.rewrite import PathRewriter

if TYPE_CHECKING:
    from vllm_sandbox.node.container import Container
    from vllm_sandbox.node.pod import PodWorker

Object = dict[str, Any]
SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Launch:
    """A container's start, and what else must run in the same surroundings."""

    start: Start
    image: Image
    context: Context
    rewrite: PathRewriter


async def container_launch(pod: PodWorker, container: Container) -> Launch:
    """How to start ``container`` of ``pod``.

    Raises:
        ConfigError: its environment can't be resolved, or it must not run as the image's user.
        UnknownExecutable: the image has no such program.
    """
    image = find(container.spec["image"])
    _check_user(pod, container, image)
    mounts = pod.volumes.of(container.spec)
    rootfs = _rootfs(pod, container)
    env = await _variables(pod, container, image)
    rewrite = _rewriter(pod, container, mounts)
    around = _surroundings(pod, container, rootfs, mounts)
    contract = {name: value for name, value in around.items() if name.startswith("SANDBOX_")}
    process_env = {**around, **{name: rewrite(value) for name, value in env.items()}, **contract}
    context = Context(pod.ip, pod.node.name, process_env, pod.runtime.binary)
    command = [rewrite(expand(word, env)) for word in container.spec.get("command", [])]
    args = [rewrite(expand(word, env)) for word in container.spec.get("args", [])]
    argv = command_line(image, command, args, context)

    writable = [mount.target for mount in mounts if not mount.read_only]
    security = container.spec.get("securityContext", {})
    if not security.get("readOnlyRootFilesystem"):
        writable.append(rootfs)
    writable.append(pod.termination_file(container))
    cwd = Path(rewrite(container.spec["workingDir"])) if container.spec.get("workingDir") else rootfs
    limit = await pod.volumes.file_limit(mounts)
    start = Start(argv, process_env, cwd if cwd.is_dir() else rootfs, writable, limit)
    return Launch(start, image, context, rewrite)


def command_beside(launch: Launch, command: list[str]) -> Start:
    """How to run another command in the container's surroundings."""
    argv = command_line(launch.image, [launch.rewrite(word) for word in command], [], launch.context)
    return Start(argv, launch.start.env, launch.start.cwd, launch.start.writable)


def _check_user(pod: PodWorker, container: Container, image: Image) -> None:
    """Refuse root where a kubelet does. Otherwise the processes have this machine's user, whichever is asked for.

    The words are the kubelet's (pkg/kubelet/kuberuntime/security_context.go).
    """
    security = {**pod.spec.get("securityContext", {}), **container.spec.get("securityContext", {})}
    if not security.get("runAsNonRoot"):
        return
    meta, user = pod.pod["metadata"], security.get("runAsUser")
    where = f'(pod: "{meta["name"]}_{meta["namespace"]}({pod.uid})", container: {container.name})'
    if user == 0:
        raise ConfigError(f"container's runAsUser breaks non-root policy {where}")
    if user is None and image.user == 0:
        raise ConfigError(f"container has runAsNonRoot and image will run as root {where}")


def _rootfs(pod: PodWorker, container: Container) -> Path:
    """The directory that stands for the container's own file system; also its home."""
    rootfs: Path = pod.root / "containers" / container.name / "rootfs"
    (rootfs / "tmp").mkdir(parents=True, exist_ok=True)
    pod.termination_file(container).touch()
    return rootfs


def _rewriter(pod: PodWorker, container: Container, mounts: list[Mount]) -> PathRewriter:
    message_path = container.spec.get("terminationMessagePath", "/dev/termination-log")
    targets = {mount.path: mount.target for mount in mounts}
    return PathRewriter({**targets, message_path: pod.termination_file(container)})


async def _variables(pod: PodWorker, container: Container, image: Image) -> dict[str, str]:
    namespace = pod.pod["metadata"]["namespace"]

    async def fetch(kind: str, name: str) -> Object | None:
        try:
            return await pod.runtime.kube.get(path(kind, namespace, name))
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    shown = {**pod.pod, "status": {**pod.pod.get("status", {}), "podIP": pod.shown_ip, "hostIP": "127.0.0.1"}}
    services = await pod.runtime.services(namespace)
    return {**image.env, **await resolve(shown, container.spec, fetch, services)}


def _surroundings(pod: PodWorker, container: Container, rootfs: Path, mounts: list[Mount]) -> dict[str, str]:
    """Variables that stand for what a container runtime provides."""
    runtime = pod.runtime
    env = {
        "PATH": SYSTEM_PATH,
        "HOME": str(rootfs),
        "TMPDIR": str(rootfs / "tmp"),
        "HOSTNAME": pod.pod["metadata"]["name"],
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        **runtime.base_env,
        **_proxied(pod.proxy_url),
        "SANDBOX_POD_IP": pod.ip,
        "SANDBOX_AGENT_SOCKET": str(runtime.reports.file),
        "SANDBOX_CONTAINER_TOKEN": container.new_token(),
        "TERMINATION_LOG_PATH": str(pod.termination_file(container)),
        **devices.environment(pod.gpus.get(container.name, [])),
    }
    if "device-plugin" in container.spec["image"]:
        env["SANDBOX_NODE_GPUS"] = json.dumps(pod.devices.gpus)
    account = next((mount.target for mount in mounts if mount.path == SERVICE_ACCOUNT), None)
    if account:
        env["KUBECONFIG"] = str(_kubeconfig(pod, account))
    return env


def _proxied(url: str) -> dict[str, str]:
    names = {"HTTP_PROXY": url, "HTTPS_PROXY": url, "NO_PROXY": "127.0.0.1,localhost,127.0.0.0/8"}
    return names | {name.lower(): value for name, value in names.items()}


def _kubeconfig(pod: PodWorker, account: Path) -> Path:
    """A kubeconfig of the pod's service account; the token file is renewed while the pod runs."""
    file: Path = pod.root / "kubeconfig"
    context = {"cluster": "in-cluster", "user": "pod", "namespace": pod.pod["metadata"]["namespace"]}
    cluster = {"server": pod.runtime.api_server, "certificate-authority": str(pod.runtime.ca_file)}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "in-cluster",
        "contexts": [{"name": "in-cluster", "context": context}],
        "clusters": [{"name": "in-cluster", "cluster": cluster}],
        "users": [{"name": "pod", "user": {"tokenFile": str(account / "token")}}],
    }
    file.write_text(json.dumps(config))
    file.chmod(0o600)
    return file
