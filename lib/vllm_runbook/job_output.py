"""What programs of ours that run in Jobs share: JSON lines, secrets kept out of them, the sentence of a failure."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any, TextIO

_TERMINATION_LIMIT = 4096  # bytes that Kubernetes keeps of a termination message


class Output:
    """Prints events as JSON lines. ``secret`` never appears in what is printed."""

    def __init__(self, stream: TextIO, secret: str | None) -> None:
        self._stream = stream
        self._secret = secret
        self._lock = threading.Lock()

    def clean(self, text: str) -> str:
        """The text without the secret."""
        return text.replace(self._secret, "***") if self._secret else text

    def event(self, name: str, **fields: Any) -> None:
        self.line(json.dumps({"event": name, **fields}))

    def line(self, text: str) -> None:
        with self._lock:
            print(self.clean(text), file=self._stream, flush=True)


def secret(variable: str) -> str | None:
    """The value of an environment variable, without the line break that Secrets made with ``echo`` have.

    Raises:
        ValueError: no secret looks like that (and an HTTP library would print it in its complaint).
    """
    value = os.environ.get(variable, "").strip()
    if any(not 33 <= ord(character) <= 126 for character in value):
        raise ValueError(
            f"{variable} contains characters that no token has (spaces, line breaks or others); store the token alone "
            "in the Secret."
        )
    return value or None


def leave_sentence(message: str, variable: str, termination_log: Path | None) -> None:
    """Leave why it failed, without the secret of that environment variable, in the termination log and on stderr."""
    output = Output(sys.stderr, os.environ.get(variable, "").strip() or None)
    sentence = output.clean(" ".join(message.split()))
    if termination_log is not None:
        try:
            termination_log.write_bytes(sentence.encode()[:_TERMINATION_LIMIT])
        except OSError as problem:
            output.line(f"{termination_log} can't be written: {problem.strerror}")
    output.line(sentence)
