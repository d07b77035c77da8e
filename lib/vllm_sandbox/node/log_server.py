"""The agent's HTTPS side: what the API server asks a kubelet for ``kubectl logs`` and ``kubectl port-forward``."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aiohttp import web

from vllm_sandbox.node.asked import FindPod, asked_pod
from vllm_sandbox.node.container import Container
from vllm_sandbox.node.logs import LogQuery
from vllm_sandbox.node.port_forward import port_forward

UNSUPPORTED = "the sandbox runs pods as plain processes and has no {what}; use kubectl logs, or port-forward"


@contextlib.asynccontextmanager
async def log_server(find_pod: FindPod, certificate: Path, key: Path, ca: Path) -> AsyncIterator[int]:
    """Serve on a free port of 127.0.0.1 to clients of the cluster's CA; yields the port."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ca))
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_cert_chain(certificate, key)
    app = web.Application()
    app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", _logs(find_pod))
    app.router.add_get("/healthz", _healthz)
    app.router.add_route("*", "/portForward/{namespace}/{pod}", port_forward(find_pod))
    for what in ("exec", "attach"):
        app.router.add_route("*", f"/{what}/{{rest:.*}}", _unsupported(what))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls, shutdown_timeout=1)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def _healthz(_request: web.Request) -> web.Response:
    return web.Response(text="ok")


def _unsupported(what: str):  # type: ignore[no-untyped-def]
    async def handler(_request: web.Request) -> web.Response:
        return web.Response(status=501, text=UNSUPPORTED.format(what=what))

    return handler


def _logs(find_pod: FindPod):  # type: ignore[no-untyped-def]
    async def handler(request: web.Request) -> web.StreamResponse:
        names = request.match_info
        pod = asked_pod(find_pod, request)
        container = next((c for c in pod.containers if c.name == names["container"]), None)
        if container is None:
            return web.Response(status=404, text=f'container "{names["container"]}" not found in pod "{names["pod"]}"')
        return await _stream(request, names["pod"], container)

    return handler


async def _stream(request: web.Request, pod: str, container: Container) -> web.StreamResponse:
    previous = request.query.get("previous") in ("true", "1")
    log = container.previous_log if previous else container.log
    if previous and container.log and "waiting" in container.status["state"]:
        log = container.log  # it waits for its restart: the last run is the previous one
    if log is None:
        return web.Response(status=400, text=_no_log(pod, container, previous=previous))
    query = _query(request)
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(request)
    with contextlib.suppress(ConnectionResetError, asyncio.CancelledError):
        async for line in log.read(query):
            await response.write(line)
        await response.write_eof()
    return response


def _no_log(pod: str, container: Container, *, previous: bool) -> str:
    if previous:
        return f'previous terminated container "{container.name}" in pod "{pod}" not found'
    waiting = container.status["state"].get("waiting", {})
    reason = waiting.get("reason", "ContainerCreating")
    if reason in ("ErrImagePull", "ImagePullBackOff", "CreateContainerConfigError"):
        return f'container "{container.name}" in pod "{pod}" is waiting to start: {waiting.get("message", reason)}'
    return f'container "{container.name}" in pod "{pod}" is waiting to start: {reason}'


def _query(request: web.Request) -> LogQuery:
    ask = request.query
    since = None
    if "sinceSeconds" in ask:
        since = datetime.now(UTC) - timedelta(seconds=int(ask["sinceSeconds"]))
    elif "sinceTime" in ask:
        since = datetime.fromisoformat(ask["sinceTime"])
    return LogQuery(
        follow=ask.get("follow") in ("true", "1"),
        tail=int(ask["tailLines"]) if "tailLines" in ask else None,
        since=since,
        timestamps=ask.get("timestamps") in ("true", "1"),
        limit_bytes=int(ask["limitBytes"]) if "limitBytes" in ask else None,
    )
