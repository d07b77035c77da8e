"""Notebooks as they are kept in git: only what a reader or a test needs, the same bytes every time."""

from __future__ import annotations

from pathlib import Path

import nbformat

VERDICT = "verdict"


def normalised(text: str) -> str:
    """The notebook without volatile parts: outputs stay only where the verdict is.

    Raises:
        ValueError: it isn't a notebook.
    """
    book = nbformat.reads(text, as_version=4)
    kept = {key: book.metadata[key] for key in ("runbook",) if key in book.metadata}
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    book.metadata = nbformat.from_dict({"kernelspec": kernel, "language_info": {"name": "python"}, **kept})
    for number, cell in enumerate(book.cells):
        tags = cell.metadata.get("tags", [])
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        cell["id"] = f"cell-{number:02}"
        cell.source = cell.source.strip("\n")
        if cell.cell_type == "code":
            cell.outputs = _verdict(cell.outputs) if VERDICT in tags else []
            cell.execution_count = 1 if cell.outputs else None  # nbval compares only cells that were run
    book.nbformat, book.nbformat_minor = 4, 5
    nbformat.validate(book)
    return str(nbformat.writes(book, indent=1)).rstrip("\n") + "\n"


def _verdict(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    text = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")
    return [nbformat.v4.new_output("stream", name="stdout", text=text)] if text else []


def take_verdict(kept: Path, executed: Path) -> None:
    """Put the verdict of an executed notebook into the kept one."""
    book = nbformat.read(kept, as_version=4)
    outputs = [cell.outputs for cell in nbformat.read(executed, as_version=4).cells if _is_verdict(cell)]
    for cell in book.cells:
        if _is_verdict(cell) and outputs:
            cell.outputs = _verdict(outputs[0])
    kept.write_text(normalised(nbformat.writes(book)), encoding="utf-8")


def _is_verdict(cell: nbformat.NotebookNode) -> bool:
    return cell.cell_type == "code" and VERDICT in cell.metadata.get("tags", [])
