"""What spot nodes save, and what an interruption costs: by the reader's prices and what was measured here."""

from __future__ import annotations

from collections.abc import Sequence

from ..notebook import Notebook
from ..params.spot import Prices
from ..tables import Table
from . import spot
from .spot_trials import Pair, rows_of

HOURS_PER_MONTH = 730


def estimate(book: Notebook, pairs: Sequence[Pair] = ()) -> Table:
    """A month of the floor and the whole burst, on demand and on spot; and a month's interruptions as measured here."""
    settings = spot.settings(book.params)
    if settings.prices is None:
        return Table(("cost", ""), [("left out", "no prices: -p spot.prices.on_demand_per_gpu_hour=… and so on")])
    prices, gpus = settings.prices, book.params.model.gpus
    burst, replicas = settings.burst, settings.floor + settings.burst
    dear = monthly(replicas, gpus, prices.on_demand_per_gpu_hour)
    mixed = monthly(settings.floor, gpus, prices.on_demand_per_gpu_hour) + monthly(
        burst, gpus, prices.spot_per_gpu_hour
    )
    rows = [
        (f"{replicas} replicas on demand, all month", _money(dear, prices)),
        (f"{settings.floor} on demand, {burst} on spot, all month", _money(mixed, prices)),
        ("saved", f"{_money(dear - mixed, prices)}, {1 - mixed / dear:.0%}"),
    ]
    scale = book.params.platform.time_scale
    note = f" (load and boot times / {scale:g} here)" if scale != 1 else ""
    a_month = prices.interruptions_per_node_month
    for row in rows_of(pairs):
        dropped = row.trial.report.total("dropped")
        words = f"{row.lost_replica_seconds:.0f} replica-seconds{note}, {dropped} dropped requests"
        rows.append((f"one interruption, {row.cloud}, {row.design}", words))
        if dropped:
            more = f"{a_month * dropped:.0f} dropped requests for each node, at {a_month:g} interruptions"
            rows.append((f"a month of them, {row.cloud}, {row.design}", more))
    return Table(("cost", f"by your prices ({prices.currency})"), rows)


def monthly(replicas: int, gpus: int, per_gpu_hour: float) -> float:
    """What so many replicas cost in a month."""
    return replicas * gpus * per_gpu_hour * HOURS_PER_MONTH


def _money(amount: float, prices: Prices) -> str:
    return f"{amount:,.0f} {prices.currency}"
