"""Large answers without Python's garbage collector."""

from __future__ import annotations

import contextlib
import gc
import json
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def collector_waits() -> Iterator[None]:
    """Python's garbage collector waits while a block (or, as a decorator, a function) reads a large cluster.

    A page of 500 pods becomes a hundred thousand dicts and lists. Each few hundred of them would have the collector
    look through what is young, and each quarter more through all that is alive: half of the CPU that a list takes, and
    growing. No cycle can be among them, and what is dropped is freed all the same, by its count of references.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@collector_waits()
def decoded(text: bytes) -> Any:
    """What a JSON text says.

    Raises:
        ValueError: it isn't JSON.
    """
    return json.loads(text)
