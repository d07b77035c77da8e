"""Small tables that read well in Lab, in a report and on a terminal."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

#: Rows that are shown of a long table; a cluster may have thousands of nodes.
MOST = 60


class Table:
    """Rows of text. A notebook shows it as HTML; ``str()`` aligns it in plain text.

    Attributes:
        rows: all of them; of more than :data:`MOST` the first are shown, and how many more there are.
    """

    def __init__(self, columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "") -> None:
        self.columns = tuple(columns)
        self.rows = [tuple("" if cell is None else str(cell) for cell in row) for row in rows]
        self.title = title

    def _shown(self) -> list[tuple[str, ...]]:
        if len(self.rows) <= MOST:
            return self.rows
        more = f"… and {len(self.rows) - MOST:,} more"
        return [*self.rows[:MOST], (more, *[""] * (len(self.columns) - 1))]

    def __str__(self) -> str:
        lines, rows = [self.title] if self.title else [], self._shown()
        widths = [
            max(len(line) for row in [self.columns, *rows] for line in row[i].split("\n") or [""])
            for i in range(len(self.columns))
        ]
        for row in [self.columns, tuple("-" * width for width in widths), *rows]:
            cells = [cell.split("\n") for cell in row]
            for at in range(max(len(cell) for cell in cells)):
                texts = [cell[at] if at < len(cell) else "" for cell in cells]
                lines.append("  ".join(text.ljust(width) for text, width in zip(texts, widths, strict=True)).rstrip())
        return "\n".join(lines)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": self.html()}

    def html(self) -> str:
        """The table as HTML, without styles of its own besides alignment."""
        caption = f"<caption style='text-align:left'>{html.escape(self.title)}</caption>" if self.title else ""
        head = "".join(f"<th style='text-align:left'>{html.escape(name)}</th>" for name in self.columns)
        body = "".join("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in self._shown())
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(text: str) -> str:
    return f"<td style='text-align:left;vertical-align:top'>{html.escape(text).replace(chr(10), '<br>')}</td>"
