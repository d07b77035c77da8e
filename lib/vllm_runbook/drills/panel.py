"""A drill in a notebook: buttons for a person in Lab; by itself, from start to reset, where nobody watches."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from .. import cluster as k8s
from .. import doctor
from ..cluster import Selection
from ..cluster.stream import Events
from ..errors import RunbookError
from ..notebook import Notebook
from ..plots import PodTimeline, View, headless, live
from ..steps import deploy
from ..tables import Table
from . import run, solving
from .catalogue import DRILLS, named
from .drill import Drill

#: Seconds between two looks at what the watch brought, while somebody looks on.
_TICK = 0.5
#: Patience with the first event of a watch, and with the last.
_EVENTS = 0.2


def table() -> Table:
    """All drills: what they are about, and which notebook explains it."""
    rows = [(each.name, each.title, each.notebook) for each in DRILLS.values()]
    return Table(("drill", "what it is about", "explained in"), rows)


def walk(book: Notebook, name: str) -> None:
    """Show a drill's panel; headless, do it: start, the doctor's finding, the solution, check, reset."""
    drill = named(name)
    if headless():
        by_itself(book, drill)
        return
    from IPython.display import display

    display(Panel(book, drill).widget)


def by_itself(book: Notebook, drill: Drill) -> None:
    """The whole drill, as a trainee would go through it; notes the checks.

    Raises:
        RunbookError: as the steps; what was broken is put back first.
    """
    timeline = PodTimeline(drill.title, book.params.platform.time_scale)
    with live(timeline), _pods(book) as events:
        run.start(book, drill.name)
        try:
            print(drill.symptom)
            found = _finding(book, drill)
            print(f"the doctor: {found.object}: {found.cause}" if found else "the doctor finds nothing of the kind")
            solving.apply(book, drill)
            outcome = run.check(book, seconds=60 + book.sizing.startup.load_seconds)
        finally:
            run.reset(book)
            _record(events, timeline)
    book.check(f"{drill.name}: the doctor finds what was broken", found is not None)
    book.check(f"{drill.name}: the solution mends it, judged by the cluster's state", outcome.solved)
    book.figure(f"{drill.name.replace('-', '_')}_seconds", round(outcome.seconds, 1))


def _finding(book: Notebook, drill: Drill) -> doctor.Finding | None:
    """The doctor's finding of what the drill broke."""
    found = doctor.diagnose(doctor.examine(book.cluster, doctor.context_of(book.params)))
    return next((each for each in found.findings if each.code == drill.name), None)


def _pods(book: Notebook) -> Any:
    return k8s.watching(book.cluster, Selection("Pod", book.namespace, labels=deploy.PODS))


def _record(events: Events, timeline: PodTimeline, seconds: float = _EVENTS) -> None:
    """Draw what the watch has brought so far."""
    for event in events.until(time.monotonic() + seconds):
        if event.object:
            timeline.record(event.at, event.object, deleted=event.type == "DELETED")


#: The panel of each drill that was displayed last.
_LATEST: dict[str, Panel] = {}


class Panel:
    """Buttons, the time since the start, and the pods as they are. A second panel of a drill supersedes the first.

    Attributes:
        widget: to be displayed.
        buttons: by name: start, hint, check, reset.
        clock: the time since the start.
        told: what the buttons said.
    """

    def __init__(self, book: Notebook, drill: Drill) -> None:
        import ipywidgets as widgets

        self._book, self._drill = book, drill
        self._ticking: asyncio.Task[None] | None = None
        self._view: View | None = None
        if (before := _LATEST.get(drill.name)) is not None:
            before.close()
        _LATEST[drill.name] = self
        self.timeline = PodTimeline(drill.title, book.params.platform.time_scale)
        self.buttons = {
            name: widgets.Button(description=name, button_style=style)
            for name, style in (("start", "danger"), ("hint", ""), ("check", "success"), ("reset", "warning"))
        }
        self.clock, self.told, self._drawing = widgets.Label(), widgets.Output(), widgets.VBox()
        work: dict[str, Callable[[], None]] = {
            "start": self._start,
            "hint": lambda: print(run.hint(book)),
            "check": self._check,
            "reset": self._reset,
        }
        for name, button in self.buttons.items():
            button.on_click(lambda _button, do=work[name]: self._do(do))
        row = widgets.HBox([*self.buttons.values(), self.clock])
        self.widget = widgets.VBox([widgets.HTML(f"<b>{drill.title}</b>"), row, self._drawing, self.told])

    def close(self) -> None:
        """Follow no longer: the watch ends, the buttons vanish. The drill itself goes on."""
        if self._ticking is not None:
            self._ticking.cancel()
        if self._view is not None:
            self._view.close()
        self.widget.close()

    def _do(self, work: Callable[[], None]) -> None:
        """Press one button; the others wait."""
        for button in self.buttons.values():
            button.disabled = True
        with self.told:
            try:
                work()
            except RunbookError as error:
                print(error)
            finally:
                for button in self.buttons.values():
                    button.disabled = False

    def _start(self) -> None:
        print(run.start(self._book, self._drill.name).symptom)
        view = self._view = View(self.timeline)
        self._drawing.children = [view.widget()]
        with contextlib.suppress(RuntimeError):  # no event loop: nobody who could see it move
            self._ticking = asyncio.get_running_loop().create_task(self._tick(view))

    async def _tick(self, view: View) -> None:
        """Follow the pods and the clock until the drill is reset."""
        with _pods(self._book) as events:
            while (now := run.running(self._book)) is not None and now.drill == self._drill.name:
                _record(events, self.timeline, 0.01)
                view.refresh()
                self.clock.value = str(timedelta(seconds=round(now.seconds())))
                await asyncio.sleep(_TICK)

    def _check(self) -> None:
        outcome = run.check(self._book)
        print("solved" if outcome.solved else "not yet:", *outcome.missing, sep="\n  ")
        self.clock.value = str(timedelta(seconds=round(outcome.seconds)))
        self._book.check(f"{self._drill.name}: mended, judged by the cluster's state", outcome.solved)

    def _reset(self) -> None:
        run.reset(self._book)
        print("everything is back as it was")
