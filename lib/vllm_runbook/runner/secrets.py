"""Nothing secret stays in what a run leaves behind."""

from __future__ import annotations

import os
import re
from pathlib import Path

_NAMES = re.compile(r"TOKEN|SECRET|PASSWORD|API_?KEY", re.IGNORECASE)
_HUB_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{20,}\b")
_LEAST = 8
MASK = "•••"


def scrub(text: str) -> str:
    """The text without values of environment variables that name a secret, and without hub tokens."""
    for value in sorted(_values(), key=len, reverse=True):
        text = text.replace(value, MASK)
    return _HUB_TOKEN.sub(MASK, text)


def scrub_file(file: Path) -> None:
    """Clean a text file in place, if there is something to clean."""
    before = file.read_text(encoding="utf-8")
    if (after := scrub(before)) != before:
        file.write_text(after, encoding="utf-8")


def _values() -> set[str]:
    return {value for name, value in os.environ.items() if _NAMES.search(name) and len(value) >= _LEAST}
