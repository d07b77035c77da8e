"""Small notebooks in a directory, and ``runbook run`` on them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat

VERDICT = """\
import json, os
result = {"step": "x", "title": "t", "ok": True, "checks": [{"name": "it is so", "ok": True, "detail": ""}],
          "changed": CHANGED, "unchanged": 1, "figures": {"ttft_seconds": 0.5}, "simulated": True,
          "notice": "Only vLLM is.", "cluster": "here"}
open(os.environ["RUNBOOK_RESULT"], "w").write(json.dumps(result))
print("holds")
"""


def notebook(*code: str, parameters: str = "", changed: int = 0, **wishes: Any) -> Any:
    cells = [nbformat.v4.new_markdown_cell("# A title\n\nSome words.")]
    if parameters:
        cells.append(nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    cells += [nbformat.v4.new_code_cell(source) for source in code]
    verdict = VERDICT.replace("CHANGED", str(changed))
    cells.append(nbformat.v4.new_code_cell(verdict, metadata={"tags": ["verdict"]}))
    book = nbformat.v4.new_notebook(cells=cells)
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    if wishes:
        book.metadata["runbook"] = wishes
    return book


class Desk:
    """A directory with notebooks, and the command run in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "notebooks").mkdir()

    def put(self, name: str, book: Any) -> None:
        nbformat.write(book, self.directory / "notebooks" / f"{name}.ipynb")

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "runbook_cli.main", "run", "--notebooks-dir", "notebooks", *arguments]

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, **environment}
        return subprocess.run(
            self.command(*arguments), cwd=self.directory, env=env, capture_output=True, text=True, timeout=120
        )

    @property
    def latest(self) -> Path:
        return self.directory / "runs" / "latest"

    @property
    def summary(self) -> dict[str, Any]:
        return dict(json.loads((self.latest / "summary.json").read_text()))

    def states(self) -> dict[str, str]:
        return {step["name"]: step["status"] for step in self.summary["notebooks"]}

    def output(self, name: str) -> str:
        book = nbformat.read(self.latest / f"{name}.ipynb", as_version=4)
        return "".join(output.get("text", "") for cell in book.cells for output in cell.get("outputs", []))
