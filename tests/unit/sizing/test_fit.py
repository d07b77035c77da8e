"""Whether it fits, why not, and remedies that hold."""

from __future__ import annotations

import re
from typing import Any

import pytest

from vllm_runbook import params, sizing


def size(model: str, platform: Any = "sandbox", **overrides: Any) -> sizing.Sizing:
    return sizing.size(params.load(platform, model, overrides))


def codes(sized: sizing.Sizing) -> list[str]:
    return [reason.code for reason in sized.reasons]


def test_the_guides_70b_on_one_gpu_does_not_fit_and_four_do() -> None:
    one = size("llama-3.1-70b-instruct", tensor_parallel_size=1)
    assert not one.fits
    assert codes(one) == ["weights"]
    assert "131.4 GiB" in one.reasons[0].text
    assert "OutOfMemoryError" in one.reasons[0].symptom
    assert size("llama-3.1-70b-instruct", tensor_parallel_size=4).fits
    assert {"model.tensor_parallel_size": 4} in [remedy.overrides for remedy in one.remedies]


@pytest.mark.parametrize("model", ["qwen3-8b", "llama-3.1-8b-instruct", "qwen3-32b", "llama-3.3-70b-instruct", "tiny"])
@pytest.mark.parametrize("platform", ["sandbox", "eks", "gke", "aks"])
def test_defaults_fit_where_they_are_meant_to(model: str, platform: str) -> None:
    assert size(model, platform).fits


def test_the_default_model_fits_a_24_gb_card() -> None:
    assert size("qwen3-8b", "k3s").fits


@pytest.mark.parametrize(
    ("model", "overrides", "code", "symptom"),
    [
        ("llama-3.1-70b-instruct", {"tensor_parallel_size": 3}, "heads", r"\(64\) must be divisible by .* \(3\)"),
        (
            "gpt-oss-20b",
            {"architecture.kv_heads": 32, "tensor_parallel_size": 64},
            "gpus",
            "Insufficient nvidia.com/gpu",
        ),
        ("qwen3-8b", {"tensor_parallel_size": 8}, "gpus", "Pending: Insufficient"),
        ("qwen3-8b", {"max_model_len": 50000}, "length", r"\(50000\) is greater than .* \(40960\)"),
        ("qwen3-8b", {"gpu.memory_gib": 16.5}, "no_cache", "No available memory for the cache blocks"),
        ("qwen3-8b", {"gpu.memory_gib": 20.0}, "small_cache", r"max seq len \(16384\), \(2.25 GiB KV cache is needed"),
        ("qwen3-8b", {"storage.size": "10Gi"}, "claim", "No space left"),
    ],
)
def test_reasons_and_their_symptoms(model: str, overrides: dict[str, Any], code: str, symptom: str) -> None:
    sized = size(model, **overrides)
    assert code in codes(sized)
    assert re.search(symptom, sized.reasons[codes(sized).index(code)].symptom)
    assert str(sized.reasons[0]) in sized.explain()


MISFITS: list[tuple[str, str, dict[str, Any]]] = [
    ("llama-3.1-70b-instruct", "sandbox", {"tensor_parallel_size": 1}),
    ("llama-3.1-70b-instruct", "sandbox", {"tensor_parallel_size": 2, "max_model_len": 131072}),
    ("llama-3.1-70b-instruct", "sandbox", {"tensor_parallel_size": 3, "storage.size": "20Gi"}),
    ("llama-3.3-70b-instruct", "k3s", {}),
    ("qwen3-32b", "k3s", {}),
    ("qwen3-8b", "k3s", {"max_num_seqs": 1024, "max_model_len": 40960}),
    ("qwen3-8b", "sandbox", {"max_model_len": 50000, "storage.size": "1Gi"}),
]


@pytest.mark.parametrize(("model", "platform", "overrides"), MISFITS)
def test_every_remedy_holds_when_sized_again(model: str, platform: str, overrides: dict[str, Any]) -> None:
    loaded = params.load(platform, model, overrides)
    sized = sizing.size(loaded)
    assert not sized.fits
    assert sized.remedies
    for remedy in sized.remedies:
        again = sizing.size(loaded.replace(remedy.overrides))
        assert again.fits, str(remedy)
        assert again.kv.tokens == remedy.kv_tokens


def test_a_shorter_context_is_the_longest_that_fits() -> None:
    loaded = params.load("sandbox", "llama-3.1-70b-instruct", {"tensor_parallel_size": 2, "max_model_len": 131072})
    first = sizing.size(loaded).remedies[0]
    length = first.overrides["model.max_model_len"]
    assert length % 1024 == 0
    assert not sizing.size(loaded.replace({"max_model_len": length + 1024})).fits


def test_a_mistake_with_one_answer_gets_one_remedy() -> None:
    remedies = size("qwen3-8b", max_model_len=50000, **{"storage.size": "1Gi"}).remedies
    changes = {"model.max_model_len": 40960, "platform.storage.size": None}
    assert [remedy.overrides for remedy in remedies] == [changes]


def test_two_changes_only_where_one_is_not_enough() -> None:
    both = size("qwen3-32b", "k3s").remedies
    assert any({"model.quantization", "model.tensor_parallel_size"} <= set(remedy.overrides) for remedy in both)
    assert both[-1].overrides["platform.gpu.per_node"] == 2
    single = size("llama-3.1-70b-instruct", tensor_parallel_size=1).remedies
    assert all(len([key for key in remedy.overrides if key.startswith("model.")]) <= 1 for remedy in single)


def test_nothing_helps_is_said() -> None:
    huge = size("llama-3.1-70b-instruct", **{"architecture.params_billion": 5000.0})
    assert not huge.remedies
    assert "choose a smaller model" in huge.explain()
    assert huge.concurrency == 0


def test_explanations_are_stable() -> None:
    assert size("qwen3-32b").explain() == size("qwen3-32b").explain()
    assert size("qwen3-8b").explain().startswith("qwen3-8b on 1 x NVIDIA-A100-SXM4-80GB (80 GiB): fits.")


@pytest.mark.parametrize(("platform", "seconds"), [("gke", "15 s of the 107 s"), ("aks", "30 s of the 107 s")])
def test_short_spot_notices_are_noted(platform: str, seconds: str) -> None:
    assert any(seconds in note for note in size("qwen3-8b", platform).notes)


def test_two_minutes_are_enough() -> None:
    assert not [note for note in size("qwen3-8b", "eks").notes if "spot" in note]
