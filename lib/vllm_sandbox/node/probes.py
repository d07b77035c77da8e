"""Startup, readiness and liveness probes with the kubelet's periods and thresholds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

USER_AGENT = "kube-probe/1.36"

Exec = Callable[[list[str], float], Awaitable[tuple[int, str]]]


@dataclass(frozen=True)
class Probe:
    """One probe of a container; times in seconds."""

    action: dict[str, Any]
    initial_delay_s: float
    period_s: float
    timeout_s: float
    success_threshold: int
    failure_threshold: int
    grace_s: int | None

    @classmethod
    def of(cls, container: dict[str, Any], kind: str) -> Probe | None:
        """The container's ``startup``, ``readiness`` or ``liveness`` probe, if it has one."""
        spec = container.get(f"{kind}Probe")
        if not spec:
            return None
        return cls(
            action=spec,
            initial_delay_s=spec.get("initialDelaySeconds", 0),
            period_s=spec.get("periodSeconds") or 10,
            timeout_s=spec.get("timeoutSeconds") or 1,
            success_threshold=spec.get("successThreshold") or 1,
            failure_threshold=spec.get("failureThreshold") or 3,
            grace_s=spec.get("terminationGracePeriodSeconds"),
        )


class Target:
    """Where a container's probes and HTTP hooks go.

    Args:
        http: shared client session.
        host: loopback address that the pod's servers listen on.
        shown_host: the pod's IP, as messages name it.
        ports: the container's named ports.
        execute: runs a command as if inside the container.
    """

    def __init__(
        self, http: aiohttp.ClientSession, host: str, shown_host: str, ports: dict[str, int], execute: Exec
    ) -> None:
        self._http = http
        self._host = host
        self._shown_host = shown_host
        self._ports = ports
        self._execute = execute

    async def check(self, action: dict[str, Any], timeout_s: float) -> tuple[bool, str]:
        """Run a probe's or a hook's action: whether it succeeded, and the failure in words."""
        try:
            async with asyncio.timeout(timeout_s):
                if "httpGet" in action:
                    return await self._http_get(action["httpGet"])
                if "tcpSocket" in action:
                    return await self._tcp(action["tcpSocket"])
                if "exec" in action:
                    code, output = await self._execute(action["exec"]["command"], timeout_s)
                    return code == 0, output
        except TimeoutError:
            return False, f"probe timed out after {timeout_s:g}s"
        return False, f"the sandbox has no probe action like {sorted(action)}"

    async def _http_get(self, get: dict[str, Any]) -> tuple[bool, str]:
        port, route = self._port(get["port"]), "/" + get.get("path", "/").lstrip("/")
        scheme = get.get("scheme", "HTTP").lower()
        host = get.get("host") or self._host
        shown = f"{scheme}://{get.get('host') or self._shown_host}:{port}{route}"
        headers = {"User-Agent": USER_AGENT, "Accept": "*/*", "Connection": "close"}
        headers |= {h["name"]: h["value"] for h in get.get("httpHeaders", [])}
        try:
            url = f"{scheme}://{host}:{port}{route}"
            async with self._http.get(url, headers=headers, allow_redirects=False, ssl=False) as answer:
                if 200 <= answer.status < 400:
                    return True, ""
                return False, f"HTTP probe failed with statuscode: {answer.status}"
        except aiohttp.ClientConnectorError as error:
            why = "connect: connection refused" if isinstance(error.os_error, ConnectionRefusedError) else str(error)
            return False, f'Get "{shown}": dial tcp {self._shown_host}:{port}: {why}'
        except aiohttp.ClientError as error:
            return False, f'Get "{shown}": {error or type(error).__name__}'

    async def _tcp(self, socket: dict[str, Any]) -> tuple[bool, str]:
        host, port = socket.get("host") or self._host, self._port(socket["port"])
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError as error:
            return False, f"dial tcp {self._shown_host}:{port}: {error.strerror or error}"
        writer.close()
        return True, ""

    def _port(self, port: int | str) -> int:
        return port if isinstance(port, int) else self._ports.get(port) or int(port)


async def observe(
    probe: Probe,
    check: Callable[[], Awaitable[tuple[bool, str]]],
    on_failure: Callable[[str], None],
    on_change: Callable[[bool, str], Awaitable[bool]],
    *,
    initial: bool | None,
    delay_s: float = 0.0,
) -> None:
    """Probe for ever from ``delay_s`` on, calling ``on_change(ok, why)`` whenever a threshold is crossed.

    ``on_failure`` hears of every single failure (for events). ``initial`` is the result assumed
    before the first probe (None: nothing is assumed); only changes are reported. Ends when
    ``on_change`` returns False.
    """
    result = initial
    last: bool | None = None
    run = 0
    await asyncio.sleep(delay_s)
    tick = asyncio.get_running_loop().time()
    while True:
        ok, why = await check()
        if not ok:
            on_failure(why)
        run = run + 1 if ok == last else 1
        last = ok
        if run >= (probe.success_threshold if ok else probe.failure_threshold) and ok != result:
            result = ok
            if not await on_change(ok, why):
                return
        # probes keep their rhythm whatever a single one takes
        tick = max(tick + probe.period_s, asyncio.get_running_loop().time())
        await asyncio.sleep(tick - asyncio.get_running_loop().time())
