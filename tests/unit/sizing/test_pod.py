"""Host resources, volume and deadlines."""

from __future__ import annotations

from typing import Any

import pytest

from vllm_runbook import params, sizing
from vllm_runbook.sizing.timing import quantity_bytes


def size(model: str, platform: Any = "sandbox", **overrides: Any) -> sizing.Sizing:
    return sizing.size(params.load(platform, model, overrides))


def test_host_memory_does_not_follow_the_weights() -> None:
    small = size("tiny", "eks", tensor_parallel_size=1, max_num_seqs=256)
    large = size("llama-3.1-70b-instruct", "eks", tensor_parallel_size=1, max_num_seqs=256)
    assert small.host == large.host
    assert large.host.memory_gib < 20


def test_host_resources_grow_with_the_gpus() -> None:
    one, four = size("qwen3-8b").host, size("qwen3-8b", tensor_parallel_size=4).host
    assert (one.cpu, four.cpu) == (6, 12)
    assert four.memory_gib > one.memory_gib
    assert (one.shm_gib, four.shm_gib) == (1, 4)
    assert four.memory_gib > four.shm_gib  # /dev/shm counts against the limit


def test_host_memory_holds_every_admitted_request() -> None:
    few, many = (size("qwen3-8b", max_num_queued_reqs=count).host for count in (256, 1024))
    assert many.memory_gib - few.memory_gib >= (1024 - 256) * 24 / 1024
    assert size("qwen3-8b").host.max_num_queued_reqs == 4 * 256


@pytest.mark.parametrize("platform", ["sandbox", "k3s", "eks", "gke", "aks"])
@pytest.mark.parametrize("model", ["tiny", "qwen3-8b", "llama-3.1-70b-instruct"])
def test_the_probe_outlasts_the_engines_own_limit_and_that_the_load(platform: str, model: str) -> None:
    start = size(model, platform).startup
    assert start.engine_ready_timeout_seconds >= max(600, 2 * start.load_seconds)
    assert start.period_seconds * start.failure_threshold > start.engine_ready_timeout_seconds


def test_the_guides_150_seconds_are_too_few_for_70b() -> None:
    assert size("llama-3.1-70b-instruct", "eks").startup.load_seconds > 150


def test_load_time_follows_the_storage() -> None:
    slow = size("qwen3-8b", **{"storage.read_mib_per_second": 100}).startup.load_seconds
    fast = size("qwen3-8b", **{"storage.read_mib_per_second": 1000}).startup.load_seconds
    assert slow - fast == pytest.approx(8.191e9 * 2 / 2**20 * (1 / 100 - 1 / 1000))


@pytest.mark.parametrize(
    ("model", "platform", "claim"),
    [("qwen3-8b", "sandbox", "20Gi"), ("qwen3-8b", "aks", "100Gi"), ("llama-3.1-70b-instruct", "aks", "159Gi")],
)
def test_claim(model: str, platform: str, claim: str) -> None:
    sized = size(model, platform)
    assert sized.storage.claim == claim
    assert sized.storage.claim_bytes > sized.storage.files_bytes


def test_a_given_size_is_kept() -> None:
    assert size("qwen3-8b", **{"storage.size": "1Ti"}).storage.claim == "1Ti"


def test_quantities() -> None:
    assert [quantity_bytes(text) for text in ("1Ki", "2Mi", "3Gi", "4Ti")] == [2**10, 2**21, 3 * 2**30, 2**42]


def test_prefetch_deadline_leaves_three_downloads_and_ten_minutes() -> None:
    storage = size("llama-3.1-70b-instruct", "aks").storage
    download = storage.files_bytes / (100 * 2**20)
    assert 0 <= storage.prefetch_deadline_seconds - (3 * download + 600) < 60


def test_the_grace_period_covers_prestop_and_the_longest_answer() -> None:
    end = size("qwen3-8b", longest_output_tokens=1000, slowest_tokens_per_second=10).shutdown
    assert end.shutdown_timeout_seconds == 100
    assert end.grace_period_seconds > end.prestop_seconds + end.shutdown_timeout_seconds


def test_no_answer_is_longer_than_the_context() -> None:
    sized = size("tiny", longest_output_tokens=100000, slowest_tokens_per_second=1)
    assert sized.shutdown.shutdown_timeout_seconds == sized.params.model.max_model_len


def test_table_shows_scaled_time_only_where_time_is_scaled() -> None:
    rows = {name: why for name, _, why in size("qwen3-8b").table()}
    assert "/ 20 here" in rows["load time"]
    assert all("here" not in why for _, _, why in size("qwen3-8b", "eks").table())


def test_table_rows_are_text_and_complete() -> None:
    rows = size("qwen3-8b").table()
    assert all(isinstance(cell, str) and cell for row in rows for cell in row)
    values = {name: value for name, value, _ in rows}
    assert values["KV cache per token and GPU"] == "144 KiB"
    assert values["host memory"].endswith("Gi")
