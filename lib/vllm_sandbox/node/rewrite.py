"""Paths as the container sees them, turned into paths on this machine.

Pods run as plain processes, without a mount namespace. So every path below a mountPath that
occurs in a container's command, arguments or environment is replaced by the volume's directory.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path


class PathRewriter:
    """Replaces mount paths in text; the longest matching mount path wins.

    A match must be a whole path prefix: ``/models`` rewrites ``/models``, ``/models/x`` and
    ``--model=/models/x``, but neither ``/models2`` nor ``/data/models``.
    """

    def __init__(self, mounts: Mapping[str, Path]) -> None:
        self._mounts = {path.rstrip("/") or "/": str(target) for path, target in mounts.items() if path != "/"}
        longest_first = sorted(self._mounts, key=len, reverse=True)
        self._pattern = (
            re.compile(rf"(?<![\w./-])({'|'.join(map(re.escape, longest_first))})(?![\w.-])") if longest_first else None
        )

    def __call__(self, text: str) -> str:
        if not self._pattern:
            return text
        return self._pattern.sub(lambda match: self._mounts[match.group(1)], text)
