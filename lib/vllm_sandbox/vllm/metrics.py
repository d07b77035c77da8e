"""/metrics: exactly the families, labels and buckets that the real server was recorded with.

The recording itself (metrics.txt) is the template: each of its lines is kept, with the model's name put in
and the value taken from the counts here. Rendering is a join of strings, cheap enough to be scraped often.
"""

from __future__ import annotations

import bisect
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from importlib import resources

from prometheus_client import CollectorRegistry, Counter, Histogram, Summary, generate_latest

from vllm_sandbox.vllm.engine import Engine, Sequence
from vllm_sandbox.vllm.lora import Gauge

_SAMPLE = re.compile(r"^(?P<name>[\w:]+)\{(?P<labels>.*)\} (?P<value>\S+)$")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_HIGH_RESOLUTION = (0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, *(n / 2 for n in range(2, 11)), 7.5, 10, 30, 60)
Getter = Callable[[], float]


class _Histogram:
    """Counts per bucket; many equal observations at once are one addition."""

    def __init__(self, bounds: list[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        self.counts[bisect.bisect_left(self.bounds, value)] += times
        self.total += value * times

    def up_to(self, bound: float) -> float:
        return float(sum(self.counts[: bisect.bisect_right(self.bounds, bound)]))

    @property
    def count(self) -> float:
        return float(sum(self.counts))


class Metrics:
    """The counts of one server. It is the engine's observer; ``render`` is the page."""

    def __init__(self, model_name: str, cache_info: dict[str, str], lora: Gauge | None = None) -> None:
        self.engine: Engine | None = None
        self._lora = lora
        self._counts: dict[tuple[str, str], float] = defaultdict(float)
        self._created = f"{time.time():.16e}"
        text = resources.files("vllm_sandbox.vllm").joinpath("metrics.txt").read_text()
        self._histograms = dict(_histograms(text))
        self._lines = [self._line(line, model_name, cache_info) for line in text.splitlines()]
        self.http = HttpMetrics()

    # -- what the engine tells ------------------------------------------------------------------

    def admitted(self, sequence: Sequence, now: float) -> None:
        self._observe("request_queue_time_seconds", now - sequence.arrived)

    def first_token(self, sequence: Sequence, now: float) -> None:
        self._observe("time_to_first_token_seconds", now - sequence.arrived)
        self._observe("request_prefill_time_seconds", now - sequence.started)
        prompt = sequence.prompt_tokens
        self._observe("request_prefill_kv_computed_tokens", prompt)
        self._counts["prompt_tokens", ""] += prompt
        self._counts["prompt_tokens_by_source", "local_compute"] += prompt
        self._counts["prefix_cache_queries", ""] += prompt
        self._counts["generation_tokens", ""] += 1

    def step(self, computed: int, decoded: int, interval: float) -> None:
        self._observe("iteration_tokens_total", computed)
        if decoded:
            self._counts["generation_tokens", ""] += decoded
            self._histograms["vllm:inter_token_latency_seconds"].observe(interval, decoded)
        if self._lora and self.engine:
            self._lora.step([*self.engine.running, *self.engine.waiting])

    def preempted(self) -> None:
        self._counts["num_preemptions", ""] += 1

    def finished(self, sequence: Sequence, reason: str, now: float) -> None:
        self._counts["request_success", reason] += 1
        self._observe("request_prompt_tokens", sequence.prompt_tokens)
        self._observe("request_generation_tokens", sequence.generated)
        self._observe("request_max_num_generation_tokens", sequence.generated)
        self._observe("request_params_n", sequence.params_n)
        self._observe("request_params_max_tokens", sequence.max_tokens)
        self._observe("e2e_request_latency_seconds", now - sequence.arrived)
        if sequence.first:
            decode = sequence.last - sequence.first
            self._observe("request_inference_time_seconds", sequence.last - sequence.started)
            self._observe("request_decode_time_seconds", decode)
            per_token = decode / max(1, sequence.generated - 1)
            self._observe("request_time_per_output_token_seconds", per_token)

    def rejected(self, reason: str) -> None:
        """Admission said no."""
        self._counts["admission_rejections", reason] += 1

    def _observe(self, name: str, value: float) -> None:
        self._histograms[f"vllm:{name}"].observe(value)

    # -- the page -------------------------------------------------------------------------------

    def render(self) -> bytes:
        """The page in Prometheus' text format."""
        lines = [text if value is None else f"{text} {value()}" for text, value in self._lines]
        lines += self._lora.lines() if self._lora else []
        return "\n".join([*lines, ""]).encode() + self.http.render()

    def _line(self, line: str, model_name: str, cache_info: dict[str, str]) -> tuple[str, Getter | None]:
        """A recorded line as it is printed here, and where its value comes from."""
        match = _SAMPLE.match(line)
        if match is None:
            return line, None
        labels = dict(_LABEL.findall(match["labels"])) | {"model_name": model_name}
        if match["name"] == "vllm:cache_config_info":
            labels = {key: cache_info.get(key, value) for key, value in labels.items() if key != "model_name"}
        elif "model_name=" not in match["labels"]:
            del labels["model_name"]
        escaped = {key: value.replace("\\", "\\\\").replace('"', '\\"') for key, value in labels.items()}
        pairs = ",".join(f'{key}="{value}"' for key, value in escaped.items())
        text = f"{match['name']}{{{pairs}}}"
        if match["name"].endswith("_created"):
            return f"{text} {self._created}", None
        return text, self._value(match["name"], labels)

    def _value(self, name: str, labels: dict[str, str]) -> Getter:
        for suffix in ("_bucket", "_count", "_sum"):
            histogram = self._histograms.get(name.removesuffix(suffix)) if name.endswith(suffix) else None
            if histogram is not None:
                return _histogram_value(histogram, suffix, labels.get("le", ""))
        if (gauge := self._gauges().get((name, labels.get("reason", "")))) is not None:
            return gauge
        if name in ("vllm:engine_sleep_state", "vllm:cache_config_info"):
            fixed = 1.0 if labels.get("sleep_state", "awake") == "awake" else 0.0
            return lambda: fixed
        kind = next((labels[key] for key in ("finished_reason", "reason", "source") if key in labels), "")
        key = (name.removeprefix("vllm:").removesuffix("_total"), kind)
        return lambda: self._counts[key]

    def _gauges(self) -> dict[tuple[str, str], Getter]:
        return {
            ("vllm:num_requests_running", ""): lambda: float(len(self.engine.running)) if self.engine else 0.0,
            ("vllm:num_requests_waiting", ""): lambda: float(len(self.engine.waiting)) if self.engine else 0.0,
            ("vllm:num_requests_waiting_by_reason", "capacity"): lambda: (
                float(len(self.engine.waiting)) if self.engine else 0.0
            ),
            ("vllm:kv_cache_usage_perc", ""): lambda: self.engine.kv_usage if self.engine else 0.0,
        }


def _histograms(text: str) -> Iterator[tuple[str, _Histogram]]:
    bounds: dict[str, list[float]] = defaultdict(list)
    for line in text.splitlines():
        match = _SAMPLE.match(line)
        if match and match["name"].endswith("_bucket"):
            le = dict(_LABEL.findall(match["labels"]))["le"]
            bounds[match["name"].removesuffix("_bucket")] += [] if le == "+Inf" else [float(le)]
    for name, found in bounds.items():
        yield name, _Histogram(found)


def _histogram_value(histogram: _Histogram, suffix: str, le: str) -> Getter:
    if suffix == "_count" or le == "+Inf":
        return lambda: histogram.count
    if suffix == "_sum":
        return lambda: histogram.total
    bound = float(le)
    return lambda: histogram.up_to(bound)


class HttpMetrics:
    """The four families about HTTP requests, which appear with the first request of each handler."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        own = self._registry
        self._requests = Counter("http_requests", "Requests by handler.", ["handler", "method", "status"], registry=own)
        self._in = Summary("http_request_size_bytes", "Bytes of requests.", ["handler"], registry=own)
        self._out = Summary("http_response_size_bytes", "Bytes of answers.", ["handler"], registry=own)
        self._all = Histogram("http_request_duration_highr_seconds", "Latency.", buckets=_HIGH_RESOLUTION, registry=own)
        self._each = Histogram(
            "http_request_duration_seconds", "Latency.", ["handler", "method"], buckets=(0.1, 0.5, 1), registry=own
        )

    def observe(self, handler: str, method: str, status: int, sizes: tuple[int, int], seconds: float) -> None:
        """One answered request; ``sizes`` of its body and of the answer's."""
        self._requests.labels(handler, method, f"{status // 100}xx").inc()
        self._in.labels(handler).observe(sizes[0])
        self._out.labels(handler).observe(sizes[1])
        self._all.observe(seconds)
        self._each.labels(handler, method).observe(seconds)

    def render(self) -> bytes:
        return bytes(generate_latest(self._registry))
