"""The servers' own counters from Prometheus, per version: what was counted between two moments.

Counters are compared series by series, and not with PromQL's increase(): that extrapolates, and a counter that appears
with its first error has no increase in it at all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..notebook import Notebook
from ..prometheus import Series
from . import canary, deploy, observability
from .canary_gates import Window

STABLE, CANARY = "stable", "canary"
_PODS = {CANARY: f"{canary.NAME}-", STABLE: f"{deploy.DEPLOYMENT}-"}
_HTTP, _ENDED = "http_requests_total", "vllm:request_success_total"
_TTFT = "vllm:time_to_first_token_seconds_bucket"
_HANDLERS = ("/v1/chat/completions", "/v1/completions")

Key = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Reading:
    """All counters of both versions at one moment."""

    series: Mapping[Key, float]

    @classmethod
    def of(cls, found: Iterable[Series]) -> Reading:
        """Of the answer to an instant query."""
        return cls({tuple(sorted(each.labels.items())): each.value for each in found})

    def since(self, before: Reading, version: str) -> Window:
        """What a version counted since ``before``. A counter that is lower than it was began anew: its server did."""
        requests = errors = refused = broken = 0.0
        ttft: dict[float, float] = defaultdict(float)
        for key, value in self.series.items():
            labels = dict(key)
            if not labels.get("pod", "").startswith(_PODS[version]):
                continue
            old = before.series.get(key, 0.0)
            more = value - old if value >= old else value
            name = labels["__name__"]
            if name == _TTFT:
                ttft[float(labels["le"])] += more
            elif name == _ENDED:
                errors += more * (labels["finished_reason"] == "error")
                broken += more * (labels["finished_reason"] == "abort")
            elif labels.get("handler") in _HANDLERS:
                requests += more
                errors += more * (labels.get("status") == "5xx")
                refused += more * (labels.get("status") == "4xx")
        return Window(round(requests), round(errors), round(refused), round(broken), tuple(sorted(ttft.items())))


def read(book: Notebook) -> Reading:
    """The counters as Prometheus last scraped them.

    Raises:
        RunbookError: Prometheus doesn't answer.
    """
    names = "|".join((_HTTP, _ENDED, _TTFT))
    pods = "|".join(f"{each}.*" for each in _PODS.values())
    query = f'{{__name__=~"{names}", namespace="{book.namespace}", pod=~"{pods}"}}'
    return Reading.of(observability.prometheus(book).query(query))
