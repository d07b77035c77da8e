"""Kubernetes quantities: ``500m``, ``16Gi``, ``1e3``.

Decimal, not float: ``0.1`` CPU added ten times must be one CPU.
"""

from __future__ import annotations

from decimal import Decimal

_SUFFIXES = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
}


def parse(text: str | int | float) -> Decimal:
    """The number that a quantity stands for (bytes, CPUs, pieces).

    Raises:
        decimal.InvalidOperation: it's no quantity.
    """
    word = str(text)
    for suffix in sorted(_SUFFIXES, key=len, reverse=True):
        if word.endswith(suffix):
            return Decimal(word[: -len(suffix)]) * _SUFFIXES[suffix]
    return Decimal(word)
