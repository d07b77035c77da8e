"""The command line of the prefetch, and the sentence it leaves behind when it fails."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, Literal

import click

from vllm_runbook.job_output import leave_sentence, secret
from vllm_runbook.prefetch.hub_errors import Source
from vllm_runbook.prefetch.listing import Selection
from vllm_runbook.prefetch.outcomes import ExitCode, PrefetchError
from vllm_runbook.prefetch.progress import PrefetchOutput
from vllm_runbook.prefetch.retry import RetryPolicy
from vllm_runbook.prefetch.run import Prefetch, Settings

_DEFAULT_ENDPOINT = "https://huggingface.co"


def _token() -> str | None:
    """HF_TOKEN.

    Raises:
        PrefetchError: AUTH, no token looks like that.
    """
    try:
        return secret("HF_TOKEN")
    except ValueError as error:
        raise PrefetchError(ExitCode.AUTH, str(error)) from error


@click.command(context_settings={"auto_envvar_prefix": "PREFETCH", "show_default": True})
@click.option("--repo", required=True, help="Model id: organisation/name.")
@click.option("--revision", default="main", help="Branch, tag or commit.")
@click.option("--target", required=True, type=click.Path(file_okay=False, path_type=Path), help="Directory to fill.")
@click.option("--allow", multiple=True, help="Only files that match this pattern (repeatable).")
@click.option("--ignore", multiple=True, help="No files that match this pattern (repeatable).")
@click.option("--everything", is_flag=True, help="Also files that repeat the weights in other formats.")
@click.option("--workers", default=4, type=click.IntRange(1, 64), help="Files downloaded at the same time.")
@click.option("--capacity-bytes", type=click.IntRange(min=1), help="The volume's size, checked before the download.")
@click.option(
    "--verify",
    default="size",
    type=click.Choice(["size", "full"]),
    help="What to check of a target marked complete; full reads and hashes every file.",
)
@click.option("--attempts", default=6, type=click.IntRange(1, 100), help="Failures in a row before giving up.")
@click.option("--retry-wait", default=1.0, type=click.FloatRange(0, 60), help="First pause in seconds, then doubled.")
@click.option("--progress-seconds", default=5.0, type=click.FloatRange(0.1, 600), help="Time between progress lines.")
@click.option("--no-lock", is_flag=True, help="For file systems without locks; nothing else may write there.")
@click.option(
    "--termination-log",
    envvar="TERMINATION_LOG_PATH",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File for the reason of a failure; Kubernetes reads /dev/termination-log.",
)
def command(**options: Any) -> int:
    """Download one revision of a model into a directory, verified and resumable.

    The token comes from HF_TOKEN, the hub's address from HF_ENDPOINT. Prints JSON lines, then one line of text.
    Exit codes: 0 complete, 2 arguments, 10 token, 11 no access to a gated model, 12 not found, 13 no space,
    14 checksum, 15 network, 16 locked by another run, 17 target not writable, 143 stopped.
    """
    try:
        token = _token()
        output = PrefetchOutput(sys.stdout, token)
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        output.line(Prefetch(_settings(options, token), output, stop).run())
    except PrefetchError as error:
        return _fail(error, options["termination_log"])
    return int(ExitCode.OK)


def _settings(options: dict[str, Any], token: str | None) -> Settings:
    endpoint = os.environ.get("HF_ENDPOINT", "").strip().rstrip("/") or _DEFAULT_ENDPOINT
    verify: Literal["size", "full"] = options["verify"]
    return Settings(
        source=Source(options["repo"], options["revision"], endpoint, token),
        target=options["target"].absolute(),
        selection=Selection(options["allow"], options["ignore"], options["everything"]),
        workers=options["workers"],
        capacity_bytes=options["capacity_bytes"],
        verify=verify,
        policy=RetryPolicy(attempts=options["attempts"], first_wait=options["retry_wait"]),
        progress_seconds=options["progress_seconds"],
        lock=not options["no_lock"],
    )


def _fail(error: PrefetchError, termination_log: Path | None) -> int:
    leave_sentence(error.message, "HF_TOKEN", termination_log)
    return int(error.code)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    try:
        return int(command.main(arguments, prog_name="python -m vllm_runbook.prefetch", standalone_mode=False) or 0)
    except click.Abort:
        return int(ExitCode.INTERRUPTED)
    except click.ClickException as error:
        path = os.environ.get("TERMINATION_LOG_PATH")
        sentence = f"{error.format_message().rstrip('.')}; see --help for what the prefetch takes."
        return _fail(PrefetchError(ExitCode.BAD_ARGUMENTS, sentence), Path(path) if path else None)
