"""The runbook in JupyterLab, as a person with a browser has it."""

from __future__ import annotations

from typing import Any

from .conftest import Lab, Screenshot


def test_try(lab: Lab, browser: Any, screenshot: Screenshot) -> None:
    page = lab.page(browser)
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text))
    try:
        page.get_by_role("button", name="look again").wait_for()
        page.get_by_text("GPU nodes advertise").wait_for()
    finally:
        screenshot(page, "try")
        print(*errors, sep="\n")
