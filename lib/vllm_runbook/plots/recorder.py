"""What a live figure is drawn from: something that collects, and tells when it has changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import plotly.graph_objects as go

Listener = Callable[[], None]


class Figured(Protocol):
    """Anything that can draw its present state."""

    def figure(self) -> go.Figure:
        """The present state."""


class Recorder:
    """Base of the recorders: keeps listeners and calls them after each change, on the caller's thread."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` after each change, until the returned function is called."""
        self._listeners.append(listener)

        def unsubscribe() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unsubscribe

    def changed(self) -> None:
        """Tell the listeners."""
        for listener in tuple(self._listeners):
            listener()
