"""The runbook's index in Lab: a control panel, the notebooks in order, and which steps hold."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import choice, params
from .. import cluster as k8s
from ..choice import Choice
from ..errors import RunbookError
from ..notebook import Notebook
from ..params import ParamsError
from ..runner.selection import Source, sources
from ..steps import overview
from ..steps.overview import State

#: A sign for each state, so that it is told without colours.
_SIGNS = {overview.HOLDS: "✓", overview.PARTLY: "◐", overview.NOT_YET: "○", overview.UNKNOWN: "?"}
_LEFT = "text-align:left;vertical-align:top"


def show(directory: Path | None = None) -> None:
    """Display the panel, and below it the notebooks of ``directory`` (default: the working directory)."""
    from IPython.display import HTML, display

    index = Index(directory or Path.cwd())
    display(index.widget)
    handle: Any = display(HTML(index.table({})), display_id=True)
    index.draw = lambda text: handle.update(HTML(text))
    index.look()


class Index:
    """The panel and the table.

    Attributes:
        widget: the panel, to be displayed.
        draw: takes the table's HTML each time it has changed.
    """

    def __init__(self, directory: Path) -> None:
        import ipywidgets as widgets

        self._sources = sources(directory)
        now = choice.read() or Choice()
        style, layout = {"description_width": "4.5em"}, {"width": "17em"}
        self.platform = widgets.Dropdown(
            options=params.names("platform"), value=now.platform, description="platform", style=style, layout=layout
        )
        self.model = widgets.Dropdown(
            options=params.names("model"), value=now.model, description="model", style=style, layout=layout
        )
        self.dry_run = widgets.Checkbox(
            value=now.dry_run, description="dry run", indent=False, layout={"width": "7em", "margin": "2px 0 0 1.5em"}
        )
        self.refresh = widgets.Button(description="look again", tooltip="Read the state of the cluster once more")
        self.told = widgets.HTML(layout={"margin": "0 0 0 2px"})
        self.draw = lambda text: None
        for control in (self.platform, self.model, self.dry_run):
            control.observe(self._changed, names="value")
        self.refresh.on_click(lambda _button: self.look())
        row = widgets.HBox([self.platform, self.model, self.dry_run, self.refresh], layout={"flex_flow": "row wrap"})
        self.widget = widgets.VBox([row, self.told])
        self._say()

    @property
    def chosen(self) -> Choice:
        """What the panel says."""
        return Choice(self.platform.value, self.model.value, self.dry_run.value)

    def _changed(self, change: Mapping[str, Any]) -> None:
        choice.write(self.chosen)
        self._say()
        if change["owner"] is not self.dry_run:
            self.look()

    def _say(self) -> None:
        dry = " Dry run: they preview every change and make none." if self.dry_run.value else ""
        self.told.value = (
            f"Notebooks whose parameters are left as they are use <b>{html.escape(self.platform.value)}</b> and "
            f"<b>{html.escape(self.model.value)}</b>, until this Lab ends.{dry}"
        )

    def look(self) -> None:
        """Read the cluster's state and draw it; an unreachable cluster is told below the table."""
        self.draw(self.table({}, "looking at the cluster …"))
        try:
            found = params.load(self.platform.value, self.model.value)
            cluster = k8s.connect(found.platform, dry_run=True)
            book = Notebook(self._sources[0].name, found, cluster)
            self.draw(self.table(overview.look(book), f"{found.platform.title}, context {cluster.context}"))
        except (ParamsError, RunbookError) as error:
            self.draw(self.table({}) + f"<pre>{html.escape(str(error))}</pre>")

    def table(self, states: Mapping[str, State], caption: str = "") -> str:
        """The notebooks in order, with links, one line each, and how they stand."""
        head = "".join(f'<th scope="col" style="{_LEFT}">{name}</th>' for name in ("notebook", "what it does", "now"))
        rows = "".join(_row(source, states.get(source.name)) for source in self._sources)
        note = f'<caption style="{_LEFT}">{html.escape(caption)}</caption>'
        return f"<table>{note}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _row(source: Source, state: State | None) -> str:
    told: Sequence[str] = ()
    if state is not None:
        word = f"<b>{_SIGNS[state.word]} {state.word}</b>" if state.word else ""
        told = [text for text in (word, html.escape(state.seen)) if text]
    cells = (
        f'<a href="{source.file.name}">{html.escape(source.title)}</a>',
        re.sub("`(.*?)`", r"<code>\1</code>", html.escape(source.summary)),
        "<br>".join(told),
    )
    return "<tr>" + "".join(f'<td style="{_LEFT}">{cell}</td>' for cell in cells) + "</tr>"
