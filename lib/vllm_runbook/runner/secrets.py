"""Nothing secret stays in what a run leaves behind."""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path

from ..tokens import MASK, mask

_NAMES = re.compile(r"TOKEN|SECRET|PASSWORD|API_?KEY", re.IGNORECASE)
_LEAST = 8


def scrub(text: str) -> str:
    """The text without values of environment variables that name a secret, plain or base64, and without tokens."""
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
    return {value for name, value in os.environ.items() if _NAMES.search(name) and len(value) >= _LEAST}
