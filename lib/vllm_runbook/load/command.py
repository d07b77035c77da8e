"""The command line of the load generator."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import Any

import click
import uvloop
from yarl import URL

from vllm_runbook.job_output import Output, leave_sentence, secret
from vllm_runbook.load.client import Target
from vllm_runbook.load.outcomes import ExitCode
from vllm_runbook.load.retry import RetryPolicy
from vllm_runbook.load.run import Refused, Settings, execute
from vllm_runbook.load.schedule import Schedule

_KEY = "VLLM_API_KEY"


def _url(_context: click.Context, _option: click.Parameter, text: str) -> URL:
    try:
        url = URL(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no URL: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise click.BadParameter(f"{text!r} is no URL of a server, such as http://inference:8000")
    if url.user or url.password or url.query_string or url.fragment:
        raise click.BadParameter(f"only scheme, host, port and path; a key comes from {_KEY}")
    return url


@click.command(context_settings={"show_default": True})
@click.option("--url", required=True, callback=_url, help="The server or Service, without /v1.")
@click.option("--model", required=True, help="The name that the server serves it under.")
@click.option("--rate", required=True, type=click.FloatRange(0, 10_000, min_open=True), help="Requests per second.")
@click.option("--seconds", required=True, type=click.FloatRange(0, 86_400, min_open=True), help="How long to send.")
@click.option(
    "--arrivals",
    default="poisson",
    type=click.Choice(["fixed", "poisson"]),
    help="Evenly spaced, or independent of each other with the rate as mean.",
)
@click.option("--seed", default=0, help="Of arrivals, prompts and pauses.")
@click.option("--prompt-tokens", default=128, type=click.IntRange(min=1), help="Length of prompts, about.")
@click.option("--output-tokens", default=64, type=click.IntRange(min=1), help="max_tokens of each request.")
@click.option("--natural-end", is_flag=True, help="Let answers end by themselves; otherwise ignore_eos is set.")
@click.option(
    "--retries", default=0, type=click.IntRange(min=0), help="Attempts after a rejection or an early failure."
)
@click.option("--retry-cut", is_flag=True, help="Also retry what failed after its first token.")
@click.option(
    "--timeout",
    default=120.0,
    type=click.FloatRange(0, min_open=True),
    help="Seconds for a request with all its attempts.",
)
@click.option(
    "--late-after",
    type=click.FloatRange(0, min_open=True),
    help="Seconds to the first token, above which a complete answer is counted as late, too.",
)
@click.option("--keep-alive", is_flag=True, help="Use connections again, instead of one for each attempt.")
@click.option("--no-check", is_flag=True, help="Don't send one request first.")
@click.option(
    "--termination-log",
    envvar="TERMINATION_LOG_PATH",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File for the reason of a failure; Kubernetes reads /dev/termination-log.",
)
def command(**options: Any) -> int:
    """Send streaming chat completions at a given rate, and account for every one of them.

    A bearer token comes from VLLM_API_KEY, a proxy from HTTP_PROXY. Prints JSON lines: start, a sample every second,
    result. Exit codes: 0 ended (whatever became of the requests), 2 arguments, or the server refuses what is asked,
    130 and 143 stopped.
    """
    try:
        key = secret(_KEY)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    _allow_many_connections()
    try:
        return uvloop.run(execute(_settings(options, key), Output(sys.stdout, key)))
    except Refused as error:
        leave_sentence(str(error), _KEY, options["termination_log"])
    return ExitCode.ARGUMENTS


def _settings(options: dict[str, Any], key: str | None) -> Settings:
    return Settings(
        target=Target(
            url=options["url"],
            model=options["model"],
            prompt_tokens=options["prompt_tokens"],
            output_tokens=options["output_tokens"],
            exact=not options["natural_end"],
            seed=options["seed"],
            api_key=key,
        ),
        schedule=Schedule(options["arrivals"], options["rate"], options["seconds"], options["seed"]),
        policy=RetryPolicy(options["retries"], options["retry_cut"]),
        timeout=options["timeout"],
        check=not options["no_check"],
        keep_alive=options["keep_alive"],
        late_after=options["late_after"],
    )


def _allow_many_connections() -> None:
    """As many open files as this process may have: each request in flight is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    try:
        return int(command.main(arguments, prog_name="python -m vllm_runbook.load", standalone_mode=False) or 0)
    except click.Abort:
        return ExitCode.SIGINT
    except click.ClickException as error:
        path = os.environ.get("TERMINATION_LOG_PATH")
        sentence = f"{error.format_message().rstrip('.')}; see --help for what the load generator takes."
        leave_sentence(sentence, _KEY, Path(path) if path else None)
        return ExitCode.ARGUMENTS
