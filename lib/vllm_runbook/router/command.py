"""The command line of the router."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import click
import uvloop
from aiohttp import web

from vllm_runbook.job_output import Output, leave_sentence, secret
from vllm_runbook.router.app import Router, Settings
from vllm_runbook.router.routes import RoutesError, read

_KEY = "VLLM_API_KEY"
_BAD_ARGUMENTS = 2


@click.command(context_settings={"auto_envvar_prefix": "ROUTER", "show_default": True})
@click.option(
    "--routes",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="JSON file with models and backends.",
)
@click.option("--host", default="0.0.0.0", help="Address to listen at.")
@click.option("--port", default=8080, type=click.IntRange(1, 65535), help="Port to listen at.")
@click.option("--max-body-mib", default=4, type=click.IntRange(1, 1024), help="Largest request body.")
@click.option("--max-held-mib", default=128, type=click.IntRange(1), help="Bodies of held requests, all together.")
@click.option("--silence-seconds", default=600.0, type=click.FloatRange(1), help="Patience with a silent server.")
@click.option("--drain-seconds", default=90.0, type=click.FloatRange(0), help="For answers under way, after SIGTERM.")
def command(**options: Any) -> int:
    """Serve many models at one OpenAI endpoint; each request goes to the Service of its `model`.

    The key that clients must send comes from VLLM_API_KEY, a proxy from HTTP_PROXY. SIGTERM: what is being answered is
    ended, what waits gets 503. Exit codes: 0 ended, 2 arguments or the file of routes.
    """
    try:
        key = secret(_KEY)
        routes = read(options["routes"])
    except (ValueError, RoutesError) as error:
        raise click.UsageError(str(error)) from error
    settings = Settings(
        routes, options["max_body_mib"] * 2**20, options["max_held_mib"] * 2**20, options["silence_seconds"], key
    )
    output = Output(sys.stdout, key)
    return uvloop.run(_serve(settings, (options["host"], options["port"]), options["drain_seconds"], output))


async def _serve(settings: Settings, address: tuple[str, int], drain_seconds: float, output: Output) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    router = Router(settings)
    runner = web.AppRunner(router.build(), access_log=None, handler_cancellation=True, shutdown_timeout=drain_seconds)
    await runner.setup()
    try:
        await web.TCPSite(runner, *address, backlog=1024).start()
        output.event("start", address=address, models=[card.id for card in settings.routes.models])
        await stop.wait()
        output.event("stop", drain_seconds=drain_seconds)
        router.stop()
    finally:
        await runner.cleanup()
    output.event("end")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    try:
        return int(command.main(arguments, prog_name="python -m vllm_runbook.router", standalone_mode=False) or 0)
    except click.Abort:
        return 130
    except click.ClickException as error:
        leave_sentence(f"{error.format_message().rstrip('.')}; see --help for what the router takes.", _KEY, None)
        return _BAD_ARGUMENTS
