"""One container over all its runs: pull, start, probe, restart, stop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from vllm_sandbox.images.registry import PullError, UnknownExecutable
from vllm_sandbox.node.backoff import INITIAL_S, BackOff
from vllm_sandbox.node.clock import now
from vllm_sandbox.node.devices import Use
from vllm_sandbox.node.environment import ConfigError
from vllm_sandbox.node.logs import ContainerLog
from vllm_sandbox.node.probes import Probe, Target, observe
from vllm_sandbox.node.process import Process, execute
from vllm_sandbox.node.pulling import pull
from vllm_sandbox.node.quantity import parse
from vllm_sandbox.node.status import is_sidecar, restarts_before

if TYPE_CHECKING:
    from vllm_sandbox.node.pod import PodWorker

Object = dict[str, Any]
MINIMUM_GRACE_S = 2.0  # the kubelet's: after a preStop hook used up the grace period


class Container:
    """A container of a pod.

    Attributes:
        status: its containerStatus, as the API shows it.
        log, previous_log: output of this run and of the one before.
    """

    def __init__(self, pod: PodWorker, spec: Object, *, init: bool) -> None:
        self.spec = spec
        self.name: str = spec["name"]
        self.init = init
        self.log: ContainerLog | None = None
        self.previous_log: ContainerLog | None = None
        self.started = asyncio.Event()
        self._pod = pod
        self._process: Process | None = None
        self._target: Target | None = None
        self._probes: set[asyncio.Task[None]] = set()
        self._token: str | None = None
        self._oom_killed = False
        self._began = 0.0
        waiting = "PodInitializing" if pod.spec.get("initContainers") else "ContainerCreating"
        self.status: Object = {
            "name": self.name,
            "image": spec["image"],
            "imageID": "",
            "ready": False,
            "started": False,
            "restartCount": restarts_before(pod.pod, self.name),
            "state": {"waiting": {"reason": waiting}},
            "lastState": {},
        }

    # -- running -----------------------------------------------------------------------------

    async def run(self) -> int:
        """Run it as often as its restart policy says; returns the last exit code."""
        await self._pull()
        crash_loop = BackOff()
        while not self._pod.stopping.is_set():
            await self._pod.node.kubelet.wait()
            began = asyncio.get_running_loop().time()
            code = await self._run_once()
            if self._pod.stopping.is_set() or not self._restarts_after(code):
                return code
            delay = crash_loop.next_delay(asyncio.get_running_loop().time() - began)
            if delay:
                self._wait_in_crash_loop(delay)
                if await self._pod.pause(delay):
                    return code
            self.status["restartCount"] += 1
        return 0

    async def _run_once(self) -> int:
        """One run from configuration to exit."""
        if not await self._configure_and_start():
            return int(self.status["state"].get("terminated", {}).get("exitCode", 0))
        assert self._process and self._target
        self._begin_probes()
        if hook := self.spec.get("lifecycle", {}).get("postStart"):
            ok, why = await self._hook(hook, self._pod.grace_s)
            if not ok:
                self._event("Warning", "FailedPostStartHook", f"PostStartHook failed: {why}")
                self._pod.spawn(self.stop(self._pod.grace_s))
        code = await self._process.wait()
        self._end_run(code)
        return code

    async def _pull(self) -> None:
        """Find the image in the registry, trying again as long as it isn't there."""
        image, back_off = self.spec["image"], BackOff(first_s=INITIAL_S)
        while not self._pod.stopping.is_set():
            self._event("Normal", "Pulling", f'Pulling image "{image}"')
            try:
                found = await pull(self._pod.runtime.kube, self._pod.pod, image)
            except PullError as error:
                self._event("Warning", "Failed", f'Failed to pull image "{image}": {error}')
                self._event("Warning", "Failed", "Error: ErrImagePull")
                self._waiting("ErrImagePull", str(error))
                delay = back_off.next_delay()
                if await self._pod.pause(min(delay, 2)):  # the kubelet's next sync
                    return
                self._event("Normal", "BackOff", f'Back-off pulling image "{image}"')
                self._event("Warning", "Failed", "Error: ImagePullBackOff")
                self._waiting("ImagePullBackOff", f'Back-off pulling image "{image}": ErrImagePull: {error}')
                if await self._pod.pause(delay):
                    return
                continue
            self.status["imageID"] = found.id
            self._event("Normal", "Pulled", f'Container image "{image}" already present on machine')
            return

    async def _configure_and_start(self) -> bool:
        """Resolve the environment and start; False when the pod stops or the command is wrong."""
        while not self._pod.stopping.is_set():
            try:
                start = await self._pod.prepare_start(self)
            except ConfigError as error:
                self._event("Warning", "Failed", f"Error: {error}")
                self._waiting("CreateContainerConfigError", str(error))
                if await self._pod.pause(INITIAL_S):
                    return False
                continue
            except UnknownExecutable as error:
                self._open_log()
                self._fail_to_start(str(error))
                return False
            self._process = await Process.start(start, self._open_log())
            self._began = asyncio.get_running_loop().time()
            self._target = self._pod.target(self, lambda command, timeout: execute(self._beside(command), timeout))
            self.status["containerID"] = f"sandbox://{self._process.pid}"
            self.status["state"] = {"running": {"startedAt": now()}}
            self._event("Normal", "Created", "Container created")
            self._event("Normal", "Started", "Container started")
            self._pod.changed()
            if self._pod.stopping.is_set():  # told to end while the process was being made: nobody else stops it
                self._pod.spawn(self.stop(self._pod.stop_grace_s))
            return True
        return False

    def _beside(self, command: list[str]) -> Any:
        return self._pod.command_beside(self, command)

    def _open_log(self) -> ContainerLog:
        if self.previous_log:  # only two runs are kept, as by the kubelet
            self.previous_log.file.unlink(missing_ok=True)
        self.previous_log, self.log = self.log, self._pod.new_log(self.name, self.status["restartCount"])
        return self.log

    def _fail_to_start(self, why: str) -> None:
        message = f"failed to create containerd task: failed to create shim task: OCI runtime create failed: {why}"
        self._event("Warning", "Failed", f"Error: {message}")
        self._record_exit(128, "StartError", message)

    # -- memory and devices: the container's own reports ---------------------------------------

    def new_token(self) -> str:
        """Token of the coming run; the one of the last run is worthless."""
        self._drop_token()
        self._token = self._pod.runtime.reports.admit(self)
        return self._token

    def memory_reported(self, memory_bytes: int) -> None:
        """Kill the container when it uses more than its limit, as the kernel would."""
        limit = self.spec.get("resources", {}).get("limits", {}).get("memory")
        if limit and memory_bytes > parse(limit) and self._process and not self._oom_killed:
            self._oom_killed = True
            self._process.kill()

    def devices_registered(self, resource: str, ids: list[str]) -> None:
        self._pod.devices.register(resource, ids)

    def devices_gone(self, resource: str) -> None:
        self._pod.devices.unregister(resource)

    def gpus_used(self, busy: float, memory_bytes: int) -> None:
        """What each of its GPUs is doing, until it says otherwise or ends."""
        meta = self._pod.pod["metadata"]
        use = Use(meta["namespace"], meta["name"], self.name, busy, memory_bytes)
        self._pod.devices.use(self._pod.gpus.get(self.name, ()), use)

    def gpus_of_node(self) -> list[Object]:
        return self._pod.devices.readings()

    # -- probes ------------------------------------------------------------------------------

    def _begin_probes(self) -> None:
        if startup := Probe.of(self.spec, "startup"):
            self._watch(startup, "Startup", self._startup_result, initial=None)
        else:
            self._has_started()

    def _has_started(self) -> None:
        self.status["started"] = True
        self.started.set()
        if readiness := Probe.of(self.spec, "readiness"):
            self._watch(readiness, "Readiness", self._readiness_result, initial=False)
        else:
            self.status["ready"] = True
        if (liveness := Probe.of(self.spec, "liveness")) and not self._pod.stopping.is_set():
            self._watch(liveness, "Liveness", self._liveness_result, initial=True)
        self._pod.changed()

    def _watch(self, probe: Probe, kind: str, on_change: Any, *, initial: bool | None) -> None:
        assert self._target
        target = self._target

        def failed(why: str) -> None:
            self._event("Warning", "Unhealthy", f"{kind} probe failed: {why}")

        async def check() -> tuple[bool, str]:
            await self._pod.node.kubelet.wait()
            return await target.check(probe.action, probe.timeout_s)

        async def changed(ok: bool, why: str) -> bool:
            return bool(await on_change(ok, probe))

        # the kubelet counts initialDelaySeconds from the container's start, not from the end of its start-up
        delay = max(0.0, self._began + probe.initial_delay_s - asyncio.get_running_loop().time())
        task = self._spawn(observe(probe, check, failed, changed, initial=initial, delay_s=delay))
        task.set_name(kind)

    async def _startup_result(self, ok: bool, probe: Probe) -> bool:
        if ok:
            self._has_started()
        else:
            self._kill_for("startup", probe)
        return False

    async def _readiness_result(self, ok: bool, probe: Probe) -> bool:
        self.status["ready"] = ok
        self._pod.changed()
        return True

    async def _liveness_result(self, ok: bool, probe: Probe) -> bool:
        if not ok:
            self._kill_for("liveness", probe)
        return ok

    def _kill_for(self, kind: str, probe: Probe) -> None:
        self._event("Normal", "Killing", f"Container {self.name} failed {kind} probe, will be restarted")
        # not a task of the probes: those are cancelled while the container stops
        self._pod.spawn(self.stop(probe.grace_s if probe.grace_s is not None else self._pod.grace_s))

    def keep_only_readiness(self) -> None:
        """The pod is being deleted: nothing but readiness is probed any more."""
        for task in self._probes:
            if task.get_name() in ("Startup", "Liveness"):
                task.cancel()

    # -- ending ------------------------------------------------------------------------------

    async def stop(self, grace_s: float, *, run_hook: bool = True) -> None:
        """preStop, SIGTERM, grace period, SIGKILL: returns when the run is over."""
        process = self._process
        if process is None or process.exited.is_set():
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace_s
        hook = self.spec.get("lifecycle", {}).get("preStop")
        if hook and run_hook:
            ok, why = await self._hook(hook, grace_s)
            if not ok:
                self._event("Warning", "FailedPreStopHook", f"PreStopHook failed: {why}")
            deadline = max(deadline, loop.time() + MINIMUM_GRACE_S)
        process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await process.exited.wait()
        process.kill()
        await process.exited.wait()

    def kill(self) -> None:
        """SIGKILL at once, without a word."""
        if self._process:
            self._process.kill()

    async def _hook(self, action: Object, timeout_s: float) -> tuple[bool, str]:
        assert self._target
        if "sleep" in action:
            await asyncio.sleep(min(action["sleep"]["seconds"], timeout_s))
            return True, ""
        process = self._process
        check = asyncio.ensure_future(self._target.check(action, timeout_s))
        gone = asyncio.ensure_future(process.exited.wait() if process else asyncio.sleep(0))
        await asyncio.wait([check, gone], return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        if check.done():
            return check.result()
        check.cancel()
        return False, "the container ended before its hook did"

    def _end_run(self, code: int) -> None:
        for task in self._probes:
            task.cancel()
        self.started.clear()
        self._drop_token()
        self.gpus_used(0, 0)
        if self._oom_killed:
            reason, code = "OOMKilled", 137
        else:
            reason = "Completed" if code == 0 else "Error"
        self._oom_killed = False
        self._record_exit(code, reason, self._last_words(code))

    def _last_words(self, code: int) -> str:
        """What it left in its termination log, or its last lines as a fallback."""
        file = self._pod.termination_file(self)
        if file.is_file() and (text := file.read_text(errors="replace")[-4096:]):
            file.unlink()
            return text
        if self.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError" and code and self.log:
            return self.log.tail_text(lines=80)
        return ""

    def _record_exit(self, code: int, reason: str, message: str) -> None:
        if self.log:
            self.log.close()
        began = self.status["state"].get("running", {}).get("startedAt") or now()
        self.status |= {"ready": self.init and not is_sidecar(self.spec) and code == 0, "started": False}
        self.status["state"] = {
            "terminated": {
                "exitCode": code,
                "reason": reason,
                "startedAt": began,
                "finishedAt": now(),
                "containerID": self.status.get("containerID", ""),
                **({"message": message} if message else {}),
            }
        }
        self._pod.changed()

    def _restarts_after(self, code: int) -> bool:
        if is_sidecar(self.spec):
            return True
        policy = self._pod.spec.get("restartPolicy", "Always")
        if self.init and policy == "Always":
            policy = "OnFailure"
        restarts = policy == "Always" or (policy == "OnFailure" and code != 0)
        if restarts:
            self.status["lastState"] = self.status["state"]
        return restarts

    def _wait_in_crash_loop(self, delay: float) -> None:
        pod = self._pod.pod["metadata"]
        message = (
            f"back-off {delay:g}s restarting failed container={self.name} "
            f"pod={pod['name']}_{pod['namespace']}({pod['uid']})"
        )
        self._event("Warning", "BackOff", f"Back-off restarting failed container {self.name} in pod {pod['name']}")
        self._waiting("CrashLoopBackOff", message)

    def lost(self, last: Object) -> None:
        """Nobody knows how it ended (an earlier agent ran it), or it never began; the kubelet says it so."""
        self.status = {**last, "ready": False, "started": False}
        self.status["state"] = last["state"] if "terminated" in last["state"] else {}
        if not self.status["state"]:
            self._record_exit(
                137,
                "ContainerStatusUnknown",
                "The container could not be located when the pod was deleted",
            )

    # -- small things ------------------------------------------------------------------------

    def _waiting(self, reason: str, message: str) -> None:
        self.status["state"] = {"waiting": {"reason": reason, "message": message}}
        self._pod.changed()

    def _event(self, kind: str, reason: str, message: str) -> None:
        self._pod.event(kind, reason, message, container=self.name)

    def _drop_token(self) -> None:
        if self._token:
            self._pod.runtime.reports.dismiss(self._token)
            self._token = None

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._probes.add(task)
        task.add_done_callback(self._probes.discard)
        return task
