"""A real browser and a real JupyterLab, on the tests' sandbox; screenshots where they are asked for."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tenacity
from playwright.sync_api import sync_playwright

from conftest import Cluster

from . import chromium

ROOT = Path(__file__).parents[2]
#: Milliseconds of patience with one thing on a page; a busy machine is slow, not broken.
PATIENCE = 180_000

#: Nothing is asked of the network, and cells stay in the page when they are scrolled away.
SETTINGS: dict[str, dict[str, Any]] = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},
}

Screenshot = Callable[[Any, str], None]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Of one module: Playwright's event loop must be gone when other tests want theirs."""
    with sync_playwright() as playwright:
        running = chromium.launch(playwright)
        yield running
        running.close()


@pytest.fixture
def screenshot() -> Screenshot:
    """Keep a picture of a page or a part of it for the documentation, if SCREENSHOTS names a directory."""
    directory = os.environ.get("SCREENSHOTS")

    def take(page: Any, name: str) -> None:
        if directory:
            Path(directory).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=str(Path(directory) / f"{name}.png"))

    return take


@dataclass(frozen=True)
class Lab:
    """A Jupyter server: its address, and the directory that it serves (a copy of the notebooks)."""

    url: str
    token: str
    notebooks: Path

    def page(self, browser: Any, **options: Any) -> Any:
        """A page in a browser of its own, at what Lab opens first."""
        context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.goto(f"{self.url}/lab/tree/index.ipynb?token={self.token}")
        return page


@pytest.fixture(scope="module")
def lab(sandbox: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """`runbook lab` as `make lab` starts it, with settings of its own and a copy of the notebooks."""
    home = tmp_path_factory.mktemp("lab")
    notebooks = home / "notebooks"
    shutil.copytree(ROOT / "notebooks", notebooks, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    for plugin, values in SETTINGS.items():
        file = home / "settings" / "@jupyterlab" / f"{plugin}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(values))
    env = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "RUNBOOK", "JPY_"))}
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        env[name] = str(home / name.lower())
    env |= {"JUPYTERLAB_SETTINGS_DIR": str(home / "settings"), "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces")}
    env |= {"KUBECONFIG": str(sandbox.kubeconfig), "RUNBOOK_PARAMS": str(ROOT / "params")}
    token = secrets.token_hex(16)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--no-browser", f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"]
    options += ["--LabApp.expose_app_in_browser=True"]  # tests ask it whether a kernel is idle
    command = [sys.executable, "-m", "runbook_cli.main", "lab", "--notebooks-dir", str(notebooks), *options]
    with (home / "log").open("w") as log:
        root = ["--allow-root"] if os.geteuid() == 0 else []
        server = subprocess.Popen([*command, *root], cwd=home, env=env, stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait_listening(port, server, home / "log")
        yield Lab(f"http://127.0.0.1:{port}", token, notebooks)
    finally:
        server.terminate()
        server.wait(timeout=60)


def _wait_listening(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    @tenacity.retry(stop=tenacity.stop_after_delay(90), wait=tenacity.wait_fixed(0.2), reraise=True)
    def connect() -> None:
        assert server.poll() is None, log.read_text()
        socket.create_connection(("127.0.0.1", port), timeout=5).close()

    connect()
