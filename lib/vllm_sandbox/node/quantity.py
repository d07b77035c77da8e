"""Kubernetes quantities, as far as the node agent needs them: bytes, counts and CPU."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

_FACTOR = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", start=1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)},
}


def parse(text: str | int | float) -> Decimal:
    """Value of ``"140Gi"``, ``"500m"``, ``"1e3"``, ``4``; raises ValueError for anything else."""
    number = str(text)
    unit = number.lstrip("+-.0123456789")
    if unit[:1] in ("e", "E") and unit[1:].lstrip("+-").isdigit():
        unit = ""
    try:
        return Decimal(number.removesuffix(unit) if unit else number) * _FACTOR[unit]
    except (KeyError, InvalidOperation):
        raise ValueError(f"{text!r} is not a Kubernetes quantity (such as 4, 500m or 140Gi)") from None
