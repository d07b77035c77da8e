"""The gateway's program, as its pod runs it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop
from aiohttp import web

from vllm_sandbox.gateway.controller import Controller
from vllm_sandbox.gateway.forward import Forwarder
from vllm_sandbox.gateway.metrics import GatewayMetrics
from vllm_sandbox.kube import Kube

#: Seconds that requests under way may take once the gateway is told to stop.
_DRAIN_S = 60


def main(argv: Sequence[str]) -> int:
    """Serve until SIGTERM; returns the exit code."""
    parser = argparse.ArgumentParser(prog="gateway", description=__doc__)
    parser.add_argument("--service", required=True, help="the gateway's own Service, namespace/name")
    parser.add_argument(
        "--listen",
        action="append",
        required=True,
        type=_pair,
        help="a listener's port and the port of this pod that serves it: 80=8080",
    )
    parser.add_argument("--admin-port", type=int, default=9091, help="/metrics, /ready and /healthz")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname).1s %(message)s", stream=sys.stdout)
    print("SIMULATED gateway of the sandbox: it honours HTTPRoutes of the Gateway API, on one machine", flush=True)
    return uvloop.run(_run(args))


def _pair(text: str) -> tuple[int, int]:
    listener, _, own = text.partition("=")
    return int(listener), int(own or listener)


async def _run(args: argparse.Namespace) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    host, metrics = os.environ.get("SANDBOX_POD_IP", "127.0.0.1"), GatewayMetrics()
    async with contextlib.AsyncExitStack() as stack:
        kube = await stack.enter_async_context(Kube.from_kubeconfig(Path(os.environ["KUBECONFIG"])))
        controller = Controller(kube, args.service, (listener for listener, _ in args.listen))
        forwarder = await stack.enter_async_context(Forwarder(lambda: controller.table, controller.endpoints, metrics))
        admin = web.Application()
        admin.add_routes(_admin_routes(controller, metrics))
        await _serve(stack, web.AppRunner(admin, access_log=None), host, args.admin_port)
        following = asyncio.create_task(controller.run())
        stopped = asyncio.create_task(stop.wait())
        for listener, own in args.listen:
            server = web.Server(functools.partial(forwarder.answer, listener), handler_cancellation=True)
            runner = web.ServerRunner(server, access_log=None, shutdown_timeout=_DRAIN_S)
            await _serve(stack, runner, host, own)
        await asyncio.wait({following, stopped}, return_when=asyncio.FIRST_COMPLETED)
        for task in (following, stopped):
            task.cancel()
        done = await asyncio.gather(following, stopped, return_exceptions=True)
    failed = next((each for each in done if isinstance(each, Exception)), None)
    if failed:
        raise failed
    return 0


async def _serve(
    stack: contextlib.AsyncExitStack, runner: web.AppRunner | web.ServerRunner, host: str, port: int
) -> None:
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, host, port, backlog=1024).start()


def _admin_routes(controller: Controller, metrics: GatewayMetrics) -> list[web.RouteDef]:
    async def ready(_request: web.Request) -> web.Response:
        return web.Response(status=200 if controller.ready.is_set() else 503)

    async def healthy(_request: web.Request) -> web.Response:
        return web.Response()

    async def page(_request: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": "text/plain; version=0.0.4"})

    return [web.get("/ready", ready), web.get("/healthz", healthy), web.get("/metrics", page)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
