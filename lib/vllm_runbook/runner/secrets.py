"""Nothing secret stays in what a run leaves behind."""

from __future__ import annotations

import os
import re
from pathlib import Path

_NAMES = re.compile(r"TOKEN|SECRET|PASSWORD|API_?KEY|WEBHOOK", re.IGNORECASE)
_HUB_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{20,}\b")
_LEAST = 8
MASK = "•••"
_hidden: set[str] = set()


def hide(value: str) -> None:
    """Scrub a value from now on that is in no environment variable: an address that is a secret, from an option."""
    if len(value) >= _LEAST:
        _hidden.add(value)


def scrub(text: str) -> str:
    """The text without values of environment variables that name a secret, hidden values and hub tokens."""
    for value in sorted(_values(), key=len, reverse=True):
        text = text.replace(value, MASK)
    return _HUB_TOKEN.sub(MASK, text)


def scrub_file(file: Path) -> None:
    """Clean a text file in place, if there is something to clean."""
    before = file.read_text(encoding="utf-8")
    if (after := scrub(before)) != before:
        file.write_text(after, encoding="utf-8")


def _values() -> set[str]:
    return _hidden | {value for name, value in os.environ.items() if _NAMES.search(name) and len(value) >= _LEAST}
