"""The report in a browser: offline, light and dark, and on paper."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Cluster
from notebooks.conftest import run_notebooks

from .conftest import Screenshot

#: CSS pixels between the margins of an A4 page: 210 mm - 2 × 12 mm.
PAPER = int((210 - 2 * 12) / 25.4 * 96)


@pytest.fixture(scope="module")
def report(sandbox: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run from 00 to 04."""
    done = run_notebooks(tmp_path_factory.mktemp("runs"), "--to", "04")
    assert done.code == 0, done.out + done.err
    return done.directory / "report.html"


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Any]:
    """The report without a network; what it asks for besides itself, and what it complains of, is an error."""
    context = browser.new_context(viewport={"width": 1100, "height": 1300}, offline=True)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: asked.append(message.text))
    page.on("pageerror", lambda error: asked.append(str(error)))
    page.goto(report.resolve().as_uri())
    page.locator(".main-svg").first.wait_for()
    yield page
    assert [each for each in asked if not each.startswith(("file:", "data:", "blob:"))] == []
    assert len([each for each in asked if each.startswith("file:")]) == 1
    context.close()


def figures(page: Any) -> list[Any]:
    found: list[Any] = page.locator("figure").all()
    assert len(found) >= 6
    return found


def test_it_is_whole_without_a_network(page: Any, screenshot: Screenshot) -> None:
    page.get_by_text("Partly simulated.").wait_for()
    assert page.locator("tbody .pill.passed").count() == 5
    for figure in figures(page):
        assert figure.locator(".gtitle").text_content()
    screenshot(page, "report-of-steps")


def test_a_screen_reader_is_told_what_each_figure_shows(page: Any) -> None:
    for figure in figures(page):
        label = figure.get_by_role("img").first.get_attribute("aria-label")
        caption = figure.locator("figcaption").inner_text()
        assert re.match(r"(Bar|Line)[\w ]*chart\. ", label), label
        assert caption in label and re.search(r"ax[ie]s: .+\.$", label), label


def test_it_follows_a_dark_screen(page: Any) -> None:
    page.emulate_media(color_scheme="dark")
    colour = page.locator("figure .gtitle").first.evaluate("text => getComputedStyle(text).fill")
    assert min(map(int, re.findall(r"\d+", colour)[:3])) > 200, colour
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", ground)[:3])) < 50, ground


def test_headings_of_tables_break_between_words_only(page: Any) -> None:
    page.set_viewport_size({"width": PAPER, "height": 1000})
    cut = page.evaluate(
        """() => [...document.querySelectorAll("th")].filter((heading) => {
            const inside = document.createRange();
            inside.selectNodeContents(heading);
            return inside.getClientRects().length > heading.textContent.trim().split(/\\s+/).length;
        }).map((heading) => heading.textContent)"""
    )
    assert cut == []


def test_it_prints_with_nothing_cut(page: Any, tmp_path: Path) -> None:
    page.emulate_media(media="print", color_scheme="dark")
    page.set_viewport_size({"width": PAPER, "height": 1000})
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("document.documentElement.scrollWidth") <= PAPER
    wide = page.evaluate(
        """(paper) => [...document.querySelectorAll("main *, header *")]
            .filter((part) => part.getBoundingClientRect().right > paper + 1 && part.checkVisibility())
            .filter((part) => !part.closest("svg") || part.matches(".main-svg"))
            .map((part) => part.outerHTML.slice(0, 200))""",
        PAPER,
    )
    assert wide == []
    assert page.locator("details:visible").count() == 0
    ground = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--ground')")
    assert ground.strip() == "#ffffff", "paper is white, whatever the screen is"
    page.evaluate("dispatchEvent(new Event('afterprint'))")

    printed = page.pdf(path=str(tmp_path / "report.pdf"), prefer_css_page_size=True)
    boxes = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", printed)
    assert {(round(float(width)), round(float(height))) for width, height in boxes} == {(595, 842)}  # A4 in points
    sheets = len(re.findall(rb"/Type /Page\b", printed))
    assert 6 <= sheets <= 30, "a page break before each notebook, and no empty pages in plenty"
