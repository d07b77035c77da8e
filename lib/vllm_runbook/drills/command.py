"""``runbook drill``: list, start, hint, check, reset."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import click

from ..errors import RunbookError
from ..params import ParamsError, from_pairs
from ..tables import Table

NOT_YET, WRONG_USE = 1, 2
#: The notebook whose permissions the drills need, and whose name their objects carry.
STEP = "20_onboarding"


def _options(command: Callable[..., None]) -> Callable[..., None]:
    """Which cluster, and what a wrong use looks like."""

    @click.option("--platform", default="sandbox", show_default=True, help="A file of params/platforms, or a path.")
    @click.option("--model", default="qwen3-8b", show_default=True, help="The model that is served there.")
    @click.option("-p", "--param", "pairs", multiple=True, metavar="NAME=VALUE", help="A field of platform or model.")
    @functools.wraps(command)
    def run(platform: str, model: str, pairs: tuple[str, ...], **more: Any) -> None:
        from ..notebook import begin

        try:
            command(begin(STEP, platform, model, from_pairs(pairs)), **more)
        except (ParamsError, RunbookError) as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(WRONG_USE)

    return run


@click.group(name="drill")
def drill() -> None:
    """Break one thing on purpose; find it and mend it.

    Exit codes: 0 done (check: solved), 1 not solved yet, 2 wrong use, or a cluster that isn't ready for it.
    """


@drill.command(name="list")
@_options
def list_them(book: Any) -> None:
    """Show the drills, and which one is under way."""
    from . import DRILLS, running

    now = running(book)
    rows = []
    for each in DRILLS.values():
        state = each.lacks(book) and "not here"
        if now and now.drill == each.name:
            state = f"{'solved' if now.solved else 'under way'}, {clock(now.seconds())}"
        rows.append((each.name, each.title, f"runbook run --to {each.needs}", f"{each.notebook}.ipynb", state))
    click.echo(Table(("drill", "what it is about", "needs", "explained in", "now"), rows))


@drill.command()
@click.argument("name")
@_options
def start(book: Any, name: str) -> None:
    """Break one thing, and wait until it shows."""
    from . import start as begin_drill

    begun = begin_drill(book, name)
    click.echo(f"\n{begun.symptom}\n")
    click.echo("Find the cause and mend it. runbook drill hint helps, runbook drill check judges.")


@drill.command()
@_options
def hint(book: Any) -> None:
    """Say a little more; after the last hint, a solution."""
    from . import hint as next_hint

    click.echo(next_hint(book))


@drill.command()
@click.option("--seconds", default=30.0, show_default=True, type=click.FloatRange(0.1), help="How long to watch.")
@_options
def check(book: Any, seconds: float) -> None:
    """Judge by the state of the cluster whether it is mended."""
    from . import check as judge

    outcome = judge(book, seconds)
    if outcome.solved:
        click.echo(f"solved in {clock(outcome.seconds)}; runbook drill reset puts back what is left of it")
        return
    click.echo("not yet:\n" + "\n".join(f"  {words}" for words in outcome.missing))
    click.echo(f"{clock(outcome.seconds)} so far")
    sys.exit(NOT_YET)


@drill.command()
@_options
def reset(book: Any) -> None:
    """Put everything back as it was before the drill."""
    from . import reset as put_back

    name = put_back(book)
    click.echo(f"{name}: everything is back as it was" if name else "no drill is under way")


def clock(seconds: float) -> str:
    """``3 min 12 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
