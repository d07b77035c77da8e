"""Whose turn it is: smooth weighted round robin, so that shares are exact and no backend gets a burst.

As nginx does it: every turn each backend's credit grows by its weight; the one with the most credit is chosen, and pays
the sum of all weights. After that many turns each backend was chosen exactly as often as its weight says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Shares(Generic[T]):
    """Turns among items with weights.

    >>> turns = Shares([("a", 3), ("b", 1)])
    >>> [turns.take() for _ in range(8)]
    ['a', 'a', 'b', 'a', 'a', 'a', 'b', 'a']
    """

    def __init__(self, weighted: Sequence[tuple[T, int]]) -> None:
        self._items = [(item, weight) for item, weight in weighted if weight > 0]
        self._total = sum(weight for _, weight in self._items)
        self._credit = [0] * len(self._items)

    def take(self) -> T | None:
        """The next one; None if no item has a weight."""
        if not self._items:
            return None
        self._credit = [credit + weight for credit, (_, weight) in zip(self._credit, self._items, strict=True)]
        chosen = max(range(len(self._items)), key=self._credit.__getitem__)
        self._credit[chosen] -= self._total
        return self._items[chosen][0]
