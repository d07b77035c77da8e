"""Figures that move while someone watches, and stand still where nobody does.

With a person at a front end a figure is a widget, redrawn as its recorder changes; when the cell ends
the widget is replaced by an ordinary figure, so that the saved notebook holds 20 KB and no widget state.
Headless, there is exactly one figure, at the end: nbval and nbconvert know nothing else.

Who watches is asked of the Jupyter protocol: an execute request says ``allow_stdin`` if its front end can
ask a person something. JupyterLab, Notebook and VS Code say yes; papermill, nbconvert and nbval no. The
environment variable RUNBOOK_HEADLESS (1 or 0) overrules it.

No threads and no timers: redrawing happens on the caller's thread when something was recorded, or while it waits for
the cluster's next event, so an interrupted cell leaves nothing behind. A source is shown live in one place: a second
one supersedes the first.
"""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import plotly.graph_objects as go
import plotly.io as pio

from .. import choice
from ..cluster import DryRunEnded
from ..cluster.stream import IDLE
from .recorder import Figured, Recorder
from .theme import alt_text

FigureSource = Figured | Callable[[], go.Figure]

#: Seconds between two redraws; a browser has better things to do than to draw every event.
INTERVAL = 0.5


def headless() -> bool:
    """Whether nobody watches: RUNBOOK_HEADLESS, else what the front end says of itself; outside a kernel always."""
    told = os.environ.get("RUNBOOK_HEADLESS", "").strip().lower()
    if told:
        return told not in choice.NO
    kernel = _kernel()
    if kernel is None:
        return True
    request = kernel.get_parent("shell") or {}
    return not request.get("content", {}).get("allow_stdin", False)


def show(source: go.Figure | FigureSource) -> None:
    """Display a figure as it is now.

    Outside a notebook (a script, a plain test) there is nothing to display on: the words are printed.
    """
    fig = source if isinstance(source, go.Figure) else _draw(source)
    if _kernel() is None:
        print(alt_text(fig))
        return
    _display(mimebundle(fig), raw=True)


def mimebundle(fig: go.Figure) -> dict[str, Any]:
    """The figure in every form that a front end may want, with the words as plain text.

    Headless there is HTML too, because nbconvert shows nothing else; its script (5 MB) comes once
    per notebook, with the first figure. RUNBOOK_PLOT_HTML=0 leaves it out, for a page that draws by itself.

    Plotly's own renderers would do the same, but load nbformat and with it the grammar of all internationalized
    addresses: over a second of every kernel's time.
    """
    bundle: dict[str, Any] = {"application/vnd.plotly.v1+json": json.loads(fig.to_json()), "text/plain": alt_text(fig)}
    if headless() and os.environ.get("RUNBOOK_PLOT_HTML", "1") != "0":
        bundle["text/html"] = _html(fig, with_script=next(_HTML_FIGURES) == 0)
    return bundle


#: Counts the figures that this kernel has given as HTML.
_HTML_FIGURES = itertools.count()


def _html(fig: go.Figure, *, with_script: bool) -> str:
    return cast(str, pio.to_html(fig, include_plotlyjs=with_script, full_html=False, validate=False))


#: The view that follows each source now, by the source's id; not every source can be hashed.
_FOLLOWING: weakref.WeakValueDictionary[int, View] = weakref.WeakValueDictionary()


class View:
    """A figure on display. ``refresh`` redraws it now; recorders do so by themselves."""

    def __init__(self, source: FigureSource, interval: float = INTERVAL) -> None:
        self._source = source
        self._interval = interval
        self._drawn = time.monotonic()
        self._widget: Any = None
        self._handle: Any = None
        self._unsubscribe: Callable[[], None] | None = None
        self._behind = False
        self._thread = threading.get_ident()
        self.redraws = 0

    @property
    def is_live(self) -> bool:
        """Whether there is a widget that someone can watch."""
        return self._widget is not None

    def open(self) -> None:
        """Put the widget on display, if there is someone to see it."""
        if headless():
            return
        self._handle = _display(self.widget(), display_id=True)

    def widget(self) -> Any:
        """A widget that follows the source from now on, for panels that place it themselves.

        An earlier view of the same source is closed.
        """
        if (before := _FOLLOWING.get(id(self._source))) is not None and before.is_live:
            before.close()
        _FOLLOWING[id(self._source)] = self
        if isinstance(self._source, Recorder):
            self._unsubscribe = self._source.subscribe(self.changed)
            IDLE.add(self._catch_up)
        self._widget = go.FigureWidget(_draw(self._source))
        self._drawn = time.monotonic()
        return self._widget

    def changed(self) -> None:
        """Redraw if the last time is long enough ago."""
        self._behind = True
        if self.is_live and time.monotonic() - self._drawn >= self._interval:
            self.refresh()

    def refresh(self) -> None:
        """Redraw now; headless, nothing."""
        if not self.is_live:
            return
        self._behind = False
        _update(self._widget, _draw(self._source))
        self._drawn = time.monotonic()
        self.redraws += 1

    def stop(self) -> None:
        """Follow no longer; what is shown stays."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        IDLE.discard(self._catch_up)

    def _catch_up(self) -> None:
        """Draw what came too soon after the last time."""
        if self._behind and threading.get_ident() == self._thread:
            self.changed()

    def close(self, *, keep: bool = True) -> None:
        """Leave the final state as an ordinary figure, in the widget's place; in a panel, nothing.

        Args:
            keep: False where there was nothing to see: no figure is left.
        """
        self.stop()
        widget, handle, self._widget, self._handle = self._widget, self._handle, None, None
        if handle is not None:
            handle.update(mimebundle(_draw(self._source)) if keep else {"text/plain": ""}, raw=True)
        elif widget is None and keep:
            show(self._source)
        if widget is not None:
            widget.close()


@contextmanager
def live(source: FigureSource, interval: float = INTERVAL) -> Iterator[View]:
    """Show ``source`` while the block runs, and its final state afterwards, also if the block fails.

        with live(timeline):
            rollout.wait(on_pod=timeline.record)

    Args:
        source: a recorder, or a function that returns a figure (then call ``view.refresh()``).
        interval: least seconds between two redraws.
    """
    view, keep = View(source, interval), True
    try:
        view.open()
        yield view
    except DryRunEnded:
        keep = False  # it ended before anything happened that could be drawn
        raise
    finally:
        view.close(keep=keep)


def _draw(source: FigureSource) -> go.Figure:
    return cast(Figured, source).figure() if hasattr(source, "figure") else source()


def _display(thing: Any, **options: Any) -> Any:
    from IPython import display as ipython_display

    return cast(Any, ipython_display).display(thing, **options)


def _update(widget: Any, fig: go.Figure) -> None:
    """Bring a widget to the state of a figure in one message, keeping its traces where they correspond."""
    same = [(old.type, old.name) for old in widget.data] == [(new.type, new.name) for new in fig.data]
    with widget.batch_update():
        if same:
            for old, new in zip(widget.data, fig.data, strict=True):
                old.update(new.to_plotly_json(), overwrite=True)
        widget.layout.update(fig.layout.to_plotly_json(), overwrite=True)
    if not same:
        widget.data = []
        widget.add_traces(list(fig.data))


def _kernel() -> Any:
    """The IPython kernel that we run in, or nothing in scripts and plain IPython."""
    import sys

    # A kernel has imported IPython long ago; scripts needn't pay for it.
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None)
