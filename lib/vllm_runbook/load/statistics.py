"""Percentiles as ``vllm bench serve`` has them: linear between the two nearest values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def percentile(ordered: Sequence[float], percent: float) -> float | None:
    """Of ascending values; None of none."""
    if not ordered:
        return None
    position = (len(ordered) - 1) * percent / 100
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def summary(values: Iterable[float]) -> dict[str, float | None]:
    """Mean, p50, p90, p99 and max of values in seconds, to the microsecond; all None of none."""
    ordered = sorted(values)
    found = {
        "mean": sum(ordered) / len(ordered) if ordered else None,
        **{f"p{percent}": percentile(ordered, percent) for percent in (50, 90, 99)},
        "max": ordered[-1] if ordered else None,
    }
    return {name: None if value is None else round(value, 6) for name, value in found.items()}
