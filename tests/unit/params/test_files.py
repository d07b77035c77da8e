"""The parameter files that come with the project: they load, and they state the known facts."""

from __future__ import annotations

from pathlib import Path

import pytest

from vllm_runbook import params

PARAMS = Path(__file__).parents[3] / "params"
PLATFORMS = sorted(file.stem for file in (PARAMS / "platforms").glob("*.yaml"))
MODELS = sorted(file.stem for file in (PARAMS / "models").glob("*.yaml"))


def test_there_is_a_file_for_each_promised_platform() -> None:
    assert PLATFORMS == ["aks", "eks", "gke", "k3s", "sandbox"]


@pytest.mark.parametrize("platform", PLATFORMS)
def test_platform_loads_under_its_own_name(platform: str) -> None:
    assert params.load(platform, "tiny").platform.name == platform


@pytest.mark.parametrize("model", MODELS)
def test_model_loads_under_its_own_name(model: str) -> None:
    assert params.load("sandbox", model).model.name == model


def test_only_the_sandbox_scales_time_and_says_what_is_simulated() -> None:
    loaded = {name: params.load(name, "tiny").platform for name in PLATFORMS}
    assert {name for name, platform in loaded.items() if platform.time_scale != 1} == {"sandbox"}
    assert {name for name, platform in loaded.items() if platform.notice} == {"sandbox"}


@pytest.mark.parametrize(
    ("platform", "label", "taint", "notice"),
    [
        ("gke", "cloud.google.com/gke-spot", "cloud.google.com/gke-spot", 30),
        ("aks", "kubernetes.azure.com/scalesetpriority", "kubernetes.azure.com/scalesetpriority", 30),
        ("eks", "eks.amazonaws.com/capacityType", None, 120),
    ],
)
def test_spot_facts(platform: str, label: str, taint: str | None, notice: int) -> None:
    spot = params.load(platform, "tiny").platform.spot
    assert spot is not None
    assert list(spot.labels) == [label]
    assert [item.key for item in spot.taints] == ([taint] if taint else [])
    assert spot.notice_seconds == notice


@pytest.mark.parametrize("platform", PLATFORMS)
def test_gpu_pods_tolerate_the_gpu_taint(platform: str) -> None:
    tolerations = params.load(platform, "tiny").platform.gpu.tolerations
    wanted = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    assert wanted in [item.manifest() for item in tolerations]


@pytest.mark.parametrize("platform", PLATFORMS)
def test_no_one_node_disk_is_shared(platform: str) -> None:
    storage = params.load(platform, "tiny").platform.storage
    assert storage.class_name not in {"gp2", "gp3", "premium-rwo", "standard-rwo", "managed-csi"}
    if storage.strategy == "shared":
        assert storage.access_modes.fill == "ReadWriteMany"


# A mixture of experts has its MLP once per expert, so the sum below isn't gpt-oss's.
@pytest.mark.parametrize("model", [name for name in MODELS if not name.startswith("gpt-oss")])
def test_parameter_count_agrees_with_the_architecture(model: str) -> None:
    """Embeddings, attention and MLP of a dense Llama-like model add up to its parameters."""
    shape = params.load("sandbox", model).model.architecture
    attention = 2 * shape.hidden_size * shape.head_dim * (shape.attention_heads + shape.kv_heads)
    mlp = 3 * shape.hidden_size * shape.intermediate_size
    total = shape.layers * (attention + mlp) + 2 * shape.vocab_size * shape.hidden_size
    assert total / 1e9 == pytest.approx(shape.params_billion, rel=0.01)
