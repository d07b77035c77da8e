"""A panel for a person in Lab: choose a load, run it on a Deployment, watch what it does."""

from __future__ import annotations

from typing import Any

from ..errors import RunbookError
from ..notebook import Notebook
from ..plots import View, headless
from . import trials
from .load import Load, Target, require_allowed


def show(book: Notebook, target: Target) -> None:
    """Sliders, a button, and a live figure for each run; headless, one line that says what is left out."""
    if headless():
        print("A panel with rate, lengths and a Run button is shown here when somebody watches (JupyterLab).")
        return
    require_allowed(book)
    from IPython.display import display

    display(panel(book, target))


def panel(book: Notebook, target: Target) -> Any:
    """The panel as a widget. One run at a time: the button is off while one is under way."""
    import ipywidgets as widgets

    style = {"description_width": "11em"}
    rate = widgets.IntSlider(value=20, min=1, max=80, description="requests per second", style=style)
    seconds = widgets.IntSlider(value=20, min=5, max=120, description="seconds", style=style)
    prompt = widgets.IntSlider(value=512, min=16, max=2048, step=16, description="prompt tokens", style=style)
    output = widgets.IntSlider(value=64, min=1, max=256, description="output tokens", style=style)
    arrivals = widgets.Dropdown(options=["poisson", "fixed"], description="arrivals", style=style)
    button = widgets.Button(description="Run", button_style="primary", tooltip=f"Put this load on {target.ref}")
    drawing, told = widgets.VBox(), widgets.Output()
    shown: list[View] = []

    def run(_button: Any) -> None:
        button.disabled = True
        told.clear_output()
        load = Load("console", rate.value, seconds.value, prompt.value, output.value, arrivals.value)
        trial = trials.of(book, "console", target, load)
        while shown:
            shown.pop().close()
        view = View(trial)
        shown.append(view)
        drawing.children = [view.widget()]
        with told:
            try:
                trials.burst(book, trial)
                print(trials.losses([trial]))
            except RunbookError as error:
                print(error)
            finally:
                view.stop()
                view.refresh()
                button.disabled = False

    button.on_click(run)
    return widgets.VBox([rate, seconds, prompt, output, arrivals, button, drawing, told])
