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
_REJECTED = "vllm:admission_rejections_total"
_RUNNING, _WAITING, _TOKENS = "vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:generation_tokens_total"
#: Scrapes that may be missed before a server counts as not scraped.
_SCRAPES = 4
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
        """What a version counted since ``before``. A counter that is lower than it was began anew: its server did.

        A server counts what its admission limit refuses for itself: status 503, or in a stream 200 and an event. So of
        those rejections only what a server has more than answers with 5xx is added to the refused.
        """
        requests = errors = refused = broken = 0.0
        rejected: dict[str, float] = defaultdict(float)
        ttft: dict[float, float] = defaultdict(float)
        for key, value in self.series.items():
            labels = dict(key)
            if not labels.get("pod", "").startswith(_PODS[version]):
                continue
            old = before.series.get(key, 0.0)
            more = value - old if value >= old else value
            name = labels["__name__"]
            if name == _REJECTED:
                rejected[labels["pod"]] += more
            elif name == _TTFT:
                ttft[float(labels["le"])] += more
            elif name == _ENDED:
                errors += more * (labels["finished_reason"] == "error")
                broken += more * (labels["finished_reason"] == "abort")
            elif labels.get("handler") in _HANDLERS:
                requests += more
                errors += more * (labels.get("status") == "5xx")
                rejected[labels["pod"]] -= more * (labels.get("status") == "5xx")
                refused += more * (labels.get("status") == "4xx")
        refused += sum(max(0.0, each) for each in rejected.values())
        return Window(round(requests), round(errors), round(refused), round(broken), tuple(sorted(ttft.items())))

    def activity(self, version: str) -> dict[str, tuple[float, float]]:
        """Of each server of a version, by pod: requests that run or wait, and tokens and ended requests so far."""
        found: dict[str, tuple[float, float]] = {}
        for key, value in self.series.items():
            labels = dict(key)
            pod, name = labels.get("pod", ""), labels["__name__"]
            if pod.startswith(_PODS[version]) and name in (_RUNNING, _WAITING, _TOKENS, _ENDED):
                under_way, done = found.get(pod, (0.0, 0.0))
                gauge = name in (_RUNNING, _WAITING)
                found[pod] = (under_way + value * gauge, done + value * (not gauge))
        return found


def read(book: Notebook) -> Reading:
    """The counters as Prometheus last scraped them.

    Raises:
        RunbookError: Prometheus doesn't answer.
    """
    names = "|".join((_HTTP, _ENDED, _TTFT, _REJECTED, _RUNNING, _WAITING, _TOKENS))
    pods = "|".join(f"{each}.*" for each in _PODS.values())
    query = f'{{__name__=~"{names}", namespace="{book.namespace}", pod=~"{pods}"}}'
    return Reading.of(observability.prometheus(book).query(query))


def read_anew(book: Notebook, servers: int) -> Reading:
    """The counters with everything that the canary has been asked until now: each server of it was scraped since.

    Args:
        servers: how many there are.

    Raises:
        TimedOut: Prometheus doesn't scrape that many.
        RunbookError: Prometheus doesn't answer.
    """
    asked = observability.prometheus(book)
    interval = book.params.platform.metrics.scrape_interval_seconds
    (clock,) = asked.query("time()")  # its own: ours may be another
    query = f'timestamp({_RUNNING}{{namespace="{book.namespace}", pod=~"{_PODS[CANARY]}.*"}})'
    scraped: set[str] = set()

    def reached() -> bool:
        scraped.update(each.labels["pod"] for each in asked.query(query) if each.value >= clock.value)
        return len(scraped) >= servers

    asked.until(
        "Prometheus scrapes the new version",
        reached,
        seconds=_SCRAPES * interval + 30,
        every=max(0.5, interval / 2),
        explain=lambda: f"{len(scraped)} of its {servers} servers were scraped",
    )
    return read(book)
