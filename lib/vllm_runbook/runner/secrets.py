"""Nothing secret stays in what a run leaves behind."""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path

from ..tokens import MASK, mask

_NAMES = re.compile(r"TOKEN|SECRET|PASSWORD|API_?KEY|WEBHOOK", re.IGNORECASE)
_LEAST = 8
_hidden: set[str] = set()


def hide(value: str) -> None:
    """Scrub a value from now on that is in no environment variable: an address that is a secret, from an option."""
    if len(value) >= _LEAST:
        _hidden.add(value)


def scrub(text: str) -> str:
    """The text without tokens, hidden values, and those of variables that name a secret; plain or base64."""
    values = _values()
    encoded = {base64.b64encode(value.encode()).decode() for value in values}
    for value in sorted(values | encoded, key=len, reverse=True):
        text = text.replace(value, MASK)
    return mask(text)


def scrub_file(file: Path) -> None:
    """Clean a text file in place, if there is something to clean."""
    before = file.read_text(encoding="utf-8")
    if (after := scrub(before)) != before:
        file.write_text(after, encoding="utf-8")


def _values() -> set[str]:
    return _hidden | {value for name, value in os.environ.items() if _NAMES.search(name) and len(value) >= _LEAST}
