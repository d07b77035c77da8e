"""``python -m vllm_sandbox.hub``: serve the model hub's stand-in."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

import click

from vllm_sandbox.hub.server import serve


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, show_default=True, help="Port; 0 takes a free one.")
@click.option(
    "--cache",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory for checksums, which take seconds to compute.",
)
@click.option("--bytes-per-second", type=click.FloatRange(min=1), help="Limit of each connection.")
def main(host: str, port: int, cache: Path, bytes_per_second: float | None) -> None:
    """Serve the API of the Hugging Face hub with synthetic models.

    Prints its address once it listens, then one line per request.
    """
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    try:
        asyncio.run(serve(host, port, cache, bytes_per_second))
    except OSError as error:
        raise click.ClickException(f"can't serve on {host}:{port}: {error}") from error


if __name__ == "__main__":
    main()
