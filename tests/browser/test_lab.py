"""The runbook in JupyterLab, as a person with a browser has it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tenacity
from playwright.sync_api import expect

from conftest import Cluster

from .conftest import PATIENCE, Lab, Screenshot

#: Says of a node that there is a GPU in it; on a CPU node nothing will ever advertise one.
FALSE_SIGN = "feature.node.kubernetes.io/pci-10de.present"
#: A figure of a notebook itself; a live one is a widget inside its output.
KEPT = ".jp-OutputArea-output.js-plotly-plot"


@pytest.fixture(scope="module")
def page(lab: Lab, browser: Any) -> Iterator[Any]:
    """One window for these tests, as a person would go on in it."""
    page = lab.page(browser)
    yield page
    page.context.close()


def notebook(page: Any) -> Any:
    """The notebook in front."""
    return page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")


def open_from_index(page: Any, title: str) -> Any:
    """Follow the index's link."""
    page.get_by_role("tab", name="index.ipynb").click()
    notebook(page).get_by_role("link", name=title).click()
    page.get_by_role("tab", name=re.compile(title[:2] + "_")).wait_for()
    panel = notebook(page)
    panel.get_by_role("heading", name=title).wait_for()
    idle(page)
    return panel


def run_all(page: Any) -> None:
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()


def idle(page: Any) -> None:
    """Wait until the kernel of the notebook in front has nothing to do."""
    page.wait_for_function(
        """() => {
            const context = window.jupyterapp.shell.currentWidget?.sessionContext;
            const kernel = context?.session?.kernel;
            return context?.isReady && kernel?.connectionStatus === "connected" && kernel.status === "idle";
        }"""
    )


def shown(panel: Any, text: str) -> Any:
    """A text among the outputs."""
    return panel.locator(".jp-OutputArea-output", has_text=text).last


def eventually(check: Callable[[], None], seconds: float = 60) -> None:
    tenacity.retry(stop=tenacity.stop_after_delay(seconds), wait=tenacity.wait_fixed(0.3), reraise=True)(check)()


def watches(sandbox: Cluster, resource: str) -> int:
    """Watches of a resource that the API server holds open, in whole clusters."""
    text = sandbox.kubectl("get", "--raw", "/metrics")
    wanted = [
        line
        for line in text.splitlines()
        if line.startswith("apiserver_longrunning_requests{")
        and f'resource="{resource}"' in line
        and 'verb="WATCH"' in line
    ]
    return sum(int(float(line.rpartition(" ")[2])) for line in wanted)


def test_the_index_opens_first_with_its_panel(page: Any, lab: Lab, screenshot: Screenshot) -> None:
    panel = notebook(page)
    panel.get_by_text("qwen3-8b fits").wait_for()
    names = [link.inner_text() for link in panel.locator("table a").all()]
    assert [name[:2] for name in names] == sorted(file.name[:2] for file in lab.notebooks.glob("[0-9]*.ipynb"))
    assert panel.get_by_label("platform").input_value() == "sandbox"
    assert not panel.get_by_label("dry run").is_checked()
    panel.get_by_text("not yet").first.wait_for()
    idle(page)
    screenshot(page, "lab-index")


def test_run_all_in_00_shows_the_plots_and_the_verdict(page: Any) -> None:
    panel = open_from_index(page, "00 Preflight")
    run_all(page)
    shown(panel, "Preflight: holds").wait_for()
    figures = panel.locator(".js-plotly-plot")
    figures.first.locator(".gtitle", has_text="GPUs: 0 of 0 used").wait_for()
    figures.nth(1).scroll_into_view_if_needed()
    title = figures.nth(1).locator(".gtitle", has_text="Memory per GPU: fits")
    title.wait_for()
    assert figures.nth(1).locator(".bars path").count() >= 6


@pytest.fixture
def liar(sandbox: Cluster) -> Iterator[Callable[[], None]]:
    """A node without a GPU that says it has one; a call lets it tell the truth."""
    sandbox.kubectl("label", "node", "cpu-0", f"{FALSE_SIGN}=true")

    def confess() -> None:
        sandbox.kubectl("label", "node", "cpu-0", f"{FALSE_SIGN}-")

    yield confess
    confess()


def test_an_interrupted_cell_leaves_no_watch_and_runs_again(
    page: Any, sandbox: Cluster, screenshot: Screenshot, liar: Callable[[], None]
) -> None:
    """01 waits for every node that says it has a GPU; one of them lies."""
    panel = open_from_index(page, "01 Device plugin")
    before = watches(sandbox, "nodes")
    run_all(page)
    live = panel.locator(".jp-OutputArea-output .js-plotly-plot")
    live.locator(".gtitle", has_text="GPUs: 0 of 12 used").wait_for()
    assert watches(sandbox, "nodes") == before + 1
    screenshot(page, "lab")
    page.get_by_role("button", name="Interrupt the kernel").click()
    shown(panel, "KeyboardInterrupt").wait_for()
    idle(page)
    eventually(lambda: _equal(watches(sandbox, "nodes"), before))
    expect(panel.locator(KEPT)).to_have_count(1, timeout=PATIENCE)  # its last state

    liar()
    run_all(page)
    shown(panel, "Device plugin: holds").wait_for()
    idle(page)
    eventually(lambda: _equal(watches(sandbox, "nodes"), before))
    expect(panel.locator(KEPT)).to_have_count(1, timeout=PATIENCE)


def _equal(found: int, wanted: int) -> None:
    assert found == wanted


def test_the_panels_choice_reaches_a_notebook_and_a_dry_run_ends_early(page: Any, sandbox: Cluster) -> None:
    page.get_by_role("tab", name="index.ipynb").click()
    index = notebook(page)
    index.get_by_label("model").select_option("tiny")
    index.get_by_label("dry run").check()
    index.get_by_text("they preview every change").wait_for()
    index.get_by_text("tiny fits").wait_for()
    index.get_by_text("3 of 3 GPU nodes advertise").wait_for()
    versions = sandbox.kubectl("get", "nodes", "-o", "jsonpath={.items[*].metadata.labels}")
    panel = open_from_index(page, "02 Label GPU nodes")
    run_all(page)
    shown(panel, "GPU node labels: dry run: 3 objects would change").wait_for()
    shown(panel, "model tiny: chosen in the index's panel").wait_for()
    assert panel.get_by_text("Traceback").count() == 0
    idle(page)
    verdict = panel.locator(".jp-CodeCell").last
    assert "holds" not in verdict.inner_text(), "the cells after the end weren't run"
    assert sandbox.kubectl("get", "nodes", "-o", "jsonpath={.items[*].metadata.labels}") == versions


def test_figures_can_be_read_in_lab_s_dark_theme(page: Any, screenshot: Screenshot) -> None:
    page.get_by_role("menuitem", name="Settings", exact=True).click()
    page.locator(".lm-Menu").get_by_text("Theme", exact=True).hover()  # Lab gives submenus no role
    page.get_by_role("menuitem", name="JupyterLab Dark", exact=True).click()
    page.get_by_role("tab", name=re.compile("00_")).click()
    title = notebook(page).locator(".js-plotly-plot .gtitle").last
    title.scroll_into_view_if_needed()
    eventually(lambda: _light(title.evaluate("text => getComputedStyle(text).fill")))
    screenshot(page, "lab-dark")


def _light(colour: str) -> None:
    assert min(map(int, re.findall(r"\d+", colour)[:3])) > 200, colour
