"""Live figures in the programs that run notebooks: papermill, nbval, nbconvert, and one with a person in front."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
from jupyter_client.manager import AsyncKernelManager
from nbconvert import HTMLExporter

from vllm_runbook import plots

SETUP = """
from datetime import datetime, timedelta, timezone
from vllm_runbook import plots
zero = datetime(2026, 1, 1, tzinfo=timezone.utc)
progress = plots.PrefetchProgress({"model.safetensors": 4 * 2**20})
"""
FILL = """
with plots.live(progress, interval=0) as view:
    for second in range(5):
        progress.record(zero + timedelta(seconds=second), {"model.safetensors": second * 2**20})
"""
VERDICT = "print(f'complete: {progress.complete}, live: {view.is_live}, listeners: {len(progress._listeners)}')"
# Libraries without types.
BOOKS: Any = nbformat
HTML: Any = HTMLExporter

PLOTLY = "application/vnd.plotly.v1+json"
WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(autouse=True)
def _nothing_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RUNBOOK_HEADLESS", raising=False)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")


def notebook(path: Path) -> Path:
    """The three cells as a notebook whose verdict is stored, and whose figure cell nbval must not compare."""
    book = BOOKS.v4.new_notebook(
        cells=[BOOKS.v4.new_code_cell(source) for source in (SETUP, FILL, VERDICT)],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    book.cells[1].metadata["tags"] = ["nbval-ignore-output"]
    stored = BOOKS.v4.new_output("stream", name="stdout", text="complete: True, live: False, listeners: 0\n")
    book.cells[2].outputs = [stored]
    book.cells[2].execution_count = 3
    BOOKS.write(book, path)
    return path


def figures(cell: Any) -> list[Any]:
    return [output for output in cell.outputs if PLOTLY in output.get("data", {})]


def test_papermill_keeps_exactly_one_figure_and_nbconvert_shows_it(tmp_path: Path) -> None:
    source = notebook(tmp_path / "in.ipynb")
    papermill.execute_notebook(str(source), str(tmp_path / "out.ipynb"), progress_bar=False, cwd=str(tmp_path))
    executed = BOOKS.read(tmp_path / "out.ipynb", as_version=4)
    fill, verdict = executed.cells[-2:]
    assert verdict.outputs[0].text == "complete: True, live: False, listeners: 0\n"
    (shown,) = figures(fill)
    assert shown.data["text/plain"] == "Weights on the volume: 4.00 of 4.00 MiB (complete)."
    assert shown.data[PLOTLY]["data"][0]["y"] == [0, 1, 2, 3, 4]
    assert not [output for cell in executed.cells for output in cell.outputs if WIDGET in output.get("data", {})]

    html, _ = HTML().from_notebook_node(executed)
    assert html.count("plotly.js v") == 1  # the whole library, once: the page works offline
    assert html.count('class="plotly-graph-div"') == 1
    assert "Plotly.newPlot" in html


def test_nbval_compares_the_verdict_and_accepts_the_figure(tmp_path: Path) -> None:
    source = notebook(tmp_path / "book.ipynb")
    command = [sys.executable, "-m", "pytest", "--nbval", "-q", "-p", "no:cacheprovider", str(source)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


@asynccontextmanager
async def kernel(**env: str) -> AsyncIterator[Any]:
    manager = AsyncKernelManager(kernel_name="python3")
    await manager.start_kernel(env={**os.environ, **env})
    client = manager.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=60)
        yield manager, client
    finally:
        client.stop_channels()
        await manager.shutdown_kernel(now=True)


async def run(client: Any, code: str, *, person: bool, on_message: Any = None) -> tuple[str, list[dict[str, Any]]]:
    """Execute as a front end with (or without) a person does; the reply's status and all messages."""
    request = client.execute(code, allow_stdin=person)
    messages: list[dict[str, Any]] = []
    async with asyncio.timeout(60):
        while True:
            message = await client.get_iopub_msg()
            if message["parent_header"].get("msg_id") != request:
                continue
            messages.append(message)
            if on_message is not None:
                await on_message(message)
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                break
        while (reply := await client.get_shell_msg())["parent_header"].get("msg_id") != request:
            pass
    return reply["content"]["status"], messages


def kinds(messages: list[dict[str, Any]]) -> list[str]:
    return [message["msg_type"] for message in messages]


def data_of(messages: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [message["content"]["data"] for message in messages if message["msg_type"] == kind]


async def text_of(client: Any, code: str, **options: Any) -> str:
    status, messages = await run(client, code, **{"person": True, **options})
    assert status == "ok", messages
    return "".join(message["content"]["text"] for message in messages if message["msg_type"] == "stream")


@pytest.mark.asyncio
async def test_a_person_sees_a_widget_that_moves_and_keeps_a_plain_figure() -> None:
    async with kernel() as (_, client):
        await run(client, SETUP, person=True)
        status, messages = await run(client, FILL, person=True)
        assert status == "ok"
        (shown,) = data_of(messages, "display_data")
        assert WIDGET in shown
        (final,) = data_of(messages, "update_display_data")
        assert final[PLOTLY]["data"][0]["y"] == [0, 1, 2, 3, 4]
        assert WIDGET not in final and "text/html" not in final
        updates = kinds(messages)[: kinds(messages).index("update_display_data")].count("comm_msg")
        assert updates >= 5
        assert "comm_close" in kinds(messages)
        state = await text_of(client, "print(view.redraws, view.is_live, len(progress._listeners))")
        assert state == "5 False 0\n"


@pytest.mark.asyncio
async def test_redraws_are_throttled() -> None:
    async with kernel() as (_, client):
        await run(client, SETUP, person=True)
        await run(client, FILL.replace("interval=0", "interval=3600"), person=True)
        assert await text_of(client, "print(view.redraws)") == "0\n"
        await run(client, "view.refresh()", person=True)  # after the end: nothing to redraw, no error


@pytest.mark.asyncio
async def test_traces_may_come_and_go() -> None:
    code = """
import plotly.graph_objects as go
names = ["a"]
with plots.live(lambda: plots.figure("t", "x (s)", "y", "w.", [go.Bar(name=n, y=[1]) for n in names])) as view:
    names.append("b"); view.refresh()
    grown = [trace.name for trace in view._widget.data]
    names.clear(); view.refresh()
    print(grown, len(view._widget.data))
"""
    async with kernel() as (_, client):
        await run(client, SETUP, person=True)
        assert await text_of(client, code) == "['a', 'b'] 0\n"


@pytest.mark.asyncio
async def test_an_interrupted_cell_leaves_its_last_state_and_nothing_else() -> None:
    code = """
import threading
before = set(threading.enumerate())
with plots.live(progress, interval=0) as view:
    progress.record(zero, {"model.safetensors": 2**20})
    print("waiting", flush=True)
    threading.Event().wait(60)
"""
    async with kernel() as (manager, client):

        async def interrupt(message: dict[str, Any]) -> None:
            if message["msg_type"] == "stream" and "waiting" in message["content"]["text"]:
                await manager.interrupt_kernel()

        await run(client, SETUP, person=True)
        status, messages = await run(client, code, person=True, on_message=interrupt)
        assert status == "error"
        assert [m["content"]["ename"] for m in messages if m["msg_type"] == "error"] == ["KeyboardInterrupt"]
        (final,) = data_of(messages, "update_display_data")
        assert "1.00 of 4.00 MiB" in final["text/plain"]
        # pyzmq starts a collector of its own when it first sends a large message.
        new = "{type(t).__name__ for t in set(threading.enumerate()) - before} - {'GarbageCollectorThread'}"
        left = await text_of(client, f"print({new}, len(progress._listeners), view.is_live)")
        assert left == "set() 0 False\n"


@pytest.mark.asyncio
async def test_what_came_too_soon_is_drawn_while_the_cell_waits() -> None:
    code = """
import time
from vllm_runbook.cluster import stream
with plots.live(progress, interval=2) as view:
    for second in range(3):
        progress.record(zero + timedelta(seconds=second), {"model.safetensors": second * 2**20})
    before = view.redraws
    list(stream.Events(None).until(time.monotonic() + 4))
    print(view.redraws > before, [int(value) for value in view._widget.data[0].y])
print(len(stream.IDLE))
"""
    async with kernel() as (_, client):
        await run(client, SETUP, person=True)
        assert await text_of(client, code) == "True [0, 1, 2]\n0\n"


@pytest.mark.asyncio
async def test_a_second_view_of_the_same_source_supersedes_the_first() -> None:
    code = """
first, second = plots.View(progress), plots.View(progress)
first.open()
placed = second.widget()
print(first.is_live, second.is_live, len(progress._listeners))
with plots.live(progress) as third:
    print(second.is_live, third.is_live, len(progress._listeners))
print(third.is_live, len(progress._listeners))
"""
    async with kernel() as (_, client):
        await run(client, SETUP, person=True)
        assert await text_of(client, code) == "False True 1\nFalse True 1\nFalse 0\n"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("told", "person", "headless"),
    [(None, True, False), (None, False, True), ("1", True, True), ("0", False, False), ("", True, False)],
)
async def test_who_watches(told: str | None, person: bool, headless: bool) -> None:
    env = {} if told is None else {"RUNBOOK_HEADLESS": told}
    async with kernel(**env) as (_, client):
        code = "from vllm_runbook import plots; print(plots.headless())"
        assert await text_of(client, code, person=person) == f"{headless}\n"


def test_outside_notebooks_the_words_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert plots.headless()
    with plots.live(plots.PrefetchProgress({"a": 2**20})) as view:
        view.refresh()
    plots.show(plots.PodTimeline())
    shown = capsys.readouterr().out.splitlines()
    assert shown == ["Weights on the volume: 0.00 of 1.00 MiB (0%, 1 of 1 files incomplete).", "No pods yet."]


def test_an_error_in_the_block_comes_through_after_the_figure(capsys: pytest.CaptureFixture[str]) -> None:
    progress = plots.PrefetchProgress({"a": 1})
    with pytest.raises(RuntimeError, match="broken"), plots.live(progress):
        raise RuntimeError("broken")
    assert "Weights on the volume" in capsys.readouterr().out
    assert progress._listeners == []


WEIGHTS = """
import os, sys
os.environ["RUNBOOK_HEADLESS"] = "1"
first, second = (plots.mimebundle(progress.figure())["text/html"] for _ in range(2))
print(len(first) > 10**6 > len(second), sorted({"nbformat", "jsonschema", "kubernetes.client.api"} & set(sys.modules)))
"""


def test_a_figure_brings_its_script_once_and_no_library_that_it_does_not_need() -> None:
    """What each kernel would have to load: an IRI grammar (with nbformat), every model of Kubernetes' API."""
    code = f"import vllm_runbook.notebook, vllm_runbook.steps.deploy\n{SETUP}\n{WEIGHTS}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "True []\n", done.stderr
