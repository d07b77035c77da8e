"""Rules, dashboards and what they tell: loaded and healthy, answered, drawn."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import plotly.graph_objects as go

from .. import advice, dashboards
from .. import rules as rule_files
from ..advice import Limits, Point
from ..cluster import Ref
from ..errors import RunbookError
from ..notebook import Notebook
from ..plots import burn_figure, plane_figure
from ..prometheus import Prometheus
from ..tables import Table
from . import exporters, observability, workloads

_START_SECONDS = 300
#: Alerts and their multiples of the budget, as in manifests/monitoring/rules/slo.yaml.
PACES = {"SloBurnsFast": 14.4, "SloBurns": 6.0, "SloBurnsSlowly": 1.0}
_WINDOWS = ("5m", "1h")


def wait_exporters(book: Notebook) -> None:
    """Watch until what we installed for Prometheus to scrape runs, and is scraped; notes the check.

    Raises:
        TimedOut: with the pods' events and last log lines, or the targets' errors.
    """
    platform = book.params.platform
    homes = {
        exporters.STATE_METRICS: Ref("Deployment", exporters.STATE_METRICS, platform.metrics.namespace),
        exporters.DCGM: Ref("DaemonSet", exporters.DCGM, platform.device_plugin.namespace),
    }
    wanted = exporters.wanted(platform)
    for name in wanted:
        workloads.wait_running(book, homes[name], seconds=_START_SECONDS)
    if wanted:
        _wait_scraped(book, wanted)
        book.check("kube-state-metrics and the DCGM exporter, where this runbook installs them, are scraped", True)


def _wait_scraped(book: Notebook, jobs: list[str]) -> None:
    asked, interval = observability.prometheus(book), book.params.platform.metrics.scrape_interval_seconds

    def reached() -> bool:
        found = {each.labels["job"]: each.value for each in asked.query("min by (job) (up)")}
        return all(found.get(job) == 1 for job in jobs)

    def explain() -> str:
        rows = [f"{each['scrapeUrl']}: {each['health']} {each['lastError']}" for each in asked.targets()]
        return "\n".join(rows) or "Prometheus has no target at all"

    what = f"Prometheus scrapes {' and '.join(jobs)}"
    asked.until(what, reached, seconds=60 + 4 * interval, every=interval / 4, explain=explain)


def verify(book: Notebook) -> Table:
    """Every rule is loaded and was evaluated without an error; notes the check.

    Raises:
        TimedOut: naming the rules that aren't, with Prometheus' words.
    """
    if book.params.platform.rules_by == "none":
        print("this platform's rules are loaded by somebody else (runbook monitoring DIR writes them as files)")
        return Table(("group", "rules", "alerts", "firing or pending now"), [])
    asked, interval = observability.prometheus(book), book.params.platform.metrics.scrape_interval_seconds
    loaded = rule_files.documents(book.params)
    asked.until(
        "Prometheus evaluates every rule",
        lambda: not unhealthy(asked, loaded),
        seconds=60 + 4 * interval,
        every=interval,
        explain=lambda: "\n".join(unhealthy(asked, loaded)[:5]),
    )
    book.check("every alert and recording rule is loaded, and was evaluated without an error", True)
    return _groups(asked, {rule.group for rule in rule_files.rules(loaded)})


def unhealthy(asked: Prometheus, documents: Mapping[str, rule_files.Document]) -> list[str]:
    """Rules of the files that Prometheus hasn't loaded, hasn't evaluated yet, or can't evaluate; with its words."""
    wanted = Counter((rule.group, rule.name) for rule in rule_files.rules(documents))
    healthy: Counter[tuple[str, str]] = Counter()
    said: dict[tuple[str, str], str] = {}
    for group in asked.rules():
        for rule in group["rules"]:
            key = group["name"], rule["name"]
            if rule["health"] == "ok":
                healthy[key] += 1
            else:
                said[key] = rule.get("lastError") or "not evaluated yet"
    return [f"{group}, {name}: {said.get((group, name), 'not loaded')}" for group, name in wanted - healthy]


def _groups(asked: Prometheus, ours: set[str]) -> Table:
    rows = []
    for group in asked.rules():
        if group["name"] in ours:
            alerts = [rule for rule in group["rules"] if rule["type"] == "alerting"]
            active = [f"{rule['name']} {rule['state']}" for rule in alerts if rule["state"] != "inactive"]
            rows.append((group["name"], len(group["rules"]), len(alerts), ", ".join(active)))
    return Table(("group", "rules", "alerts", "firing or pending now"), rows)


def answers(book: Notebook) -> Table:
    """What Prometheus says to every question of the dashboards; notes the check.

    Questions about what isn't here (KEDA before 06, spot nodes before 08) are answered, too: with no series; a quantile
    of no requests is NaN. Neither counts as data.
    """
    asked = observability.prometheus(book)
    rows: dict[str, list[int]] = {}
    refused = []
    for query in dashboards.queries():
        counts = rows.setdefault(query.dashboard, [0, 0])
        counts[0] += 1
        try:
            counts[1] += any(math.isfinite(each.value) for each in asked.query(query.expression))
        except RunbookError as error:
            refused.append(f"{query.dashboard}, {query.panel}: {error.why}")
    book.check("Prometheus answers every question of the dashboards", not refused, "; ".join(refused[:3]))
    return Table(("dashboard", "questions", "with data now"), [(name, *counts) for name, counts in rows.items()])


def told(book: Notebook, alert: str, minutes: int = 15) -> None:
    """An alert of the last minutes has fired; notes the check. Nothing where somebody else loads the rules."""
    if book.params.platform.rules_by == "none":
        return
    asked, interval = observability.prometheus(book), book.params.platform.metrics.scrape_interval_seconds
    expression = f'max_over_time(ALERTS{{alertname="{alert}", alertstate="firing"}}[{minutes}m])'
    asked.until(
        f"the alert {alert} fires",
        lambda: bool(asked.query(expression)),
        seconds=30 + 4 * interval,
        every=interval,
        explain=lambda: f"Prometheus knows of no {alert} within {minutes} minutes: {expression}",
    )
    book.check(f"the alert {alert} fired", True)


def burn_rates(book: Notebook, minutes: int = 30) -> go.Figure:
    """How fast the budgets of the last minutes burned, in every namespace with requests."""
    asked, interval = observability.prometheus(book), book.params.platform.metrics.scrape_interval_seconds
    end = datetime.now(UTC)
    found = {}
    for window in _WINDOWS:
        expression = f"namespace:vllm_slo_errors:ratio_rate{window} / on (slo) group_left () runbook:slo:budget"
        for each in asked.range(expression, end - timedelta(minutes=minutes), end, max(interval, minutes * 60 / 500)):
            points = [(at, value) for at, value in each.points if math.isfinite(value)]
            if points:
                found[f"{each.labels['namespace']}: {each.labels['slo']}, {window}"] = points
    return burn_figure(dict(sorted(found.items())), PACES)


class Situation:
    """Where the servers of each namespace were at their worst, and what that advises."""

    def __init__(self, points: list[Point], limits: Limits) -> None:
        self.points, self.limits = points, limits

    def table(self) -> Table:
        rows = []
        for point in self.points:
            found = advice.advise(point, self.limits)
            rows.append((point.name, f"{point.at:%H:%M:%S}", found.what, found.why))
        return Table(("namespace", "worst at (UTC)", "advice", "why"), rows)

    def figure(self) -> go.Figure:
        """The plane of queue and cache, with a mark for each namespace."""
        limits = self.limits
        marks = [(each.name, each.waiting, each.cache, advice.advise(each, limits).what) for each in self.points]
        return plane_figure(marks, limits.waiting, limits.cache, limits.idle)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return self.table()._repr_mimebundle_()

    def __str__(self) -> str:
        return str(self.table())


def situation(book: Notebook, minutes: int = 30) -> Situation:
    """The worst moment of the last minutes, in every namespace with servers (those that are gone meanwhile, too)."""
    asked, step = observability.prometheus(book), book.params.platform.metrics.scrape_interval_seconds
    end = datetime.now(UTC)
    chosen = book.params.platform.monitoring.thresholds
    limits = Limits(
        chosen.waiting_per_replica or math.inf,
        chosen.kv_cache_usage or 1,
        chosen.preemptions_per_minute or math.inf,
    )
    found = moments(asked, end - timedelta(minutes=minutes), end, step)
    return Situation([advice.worst(found[name], limits) for name in sorted(found)], limits)


def moments(asked: Prometheus, start: datetime, end: datetime, step_seconds: float) -> dict[str, list[Point]]:
    """By namespace: queue, cache and preemptions at the same times, wherever both queue and cache are known."""

    def values(expression: str) -> dict[tuple[str, datetime], float]:
        return {
            (each.labels["namespace"], at): value
            for each in asked.range(expression, start, end, step_seconds)
            for at, value in each.points
            if math.isfinite(value)
        }

    waiting = values("namespace:vllm_waiting:sum / namespace:vllm_servers:count")
    cache = values("namespace:vllm_kv_cache_usage:avg")
    preempted = values("60 * namespace:vllm_preemptions:rate5m")  # not known before the second sample
    found: dict[str, list[Point]] = {}
    for key in sorted(waiting.keys() & cache.keys()):
        name, at = key
        found.setdefault(name, []).append(Point(name, at, waiting[key], cache[key], preempted.get(key, 0)))
    return found
