"""Finding and reading parameter files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from vllm_runbook import params
from vllm_runbook.files import STAMP

PARAMS = Path(__file__).parents[3] / "params"


def copy(tmp_path: Path, change: tuple[str, str] | None = None) -> Path:
    """A copy of params/ whose sandbox file has one text replaced; returns that file."""
    shutil.copytree(PARAMS, tmp_path / "params")
    file = tmp_path / "params" / "platforms" / "sandbox.yaml"
    if change:
        text = file.read_text()
        assert change[0] in text
        file.write_text(text.replace(*change, 1))
    return file


def line_of(file: Path, text: str) -> int:
    return next(number for number, line in enumerate(file.read_text().splitlines(), 1) if text in line)


def test_working_directory_and_its_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy(tmp_path, ("title: Embedded sandbox", "title: mine"))
    monkeypatch.chdir(tmp_path)
    assert params.load("sandbox", "tiny").platform.title == "Embedded sandbox", "some directory called params"
    (tmp_path / STAMP).touch()
    for directory in (tmp_path, tmp_path / "notebooks"):
        directory.mkdir(exist_ok=True)
        monkeypatch.chdir(directory)
        assert params.load("sandbox", "tiny").platform.title == "mine"


def test_environment_wins_and_gaps_fall_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "platforms").mkdir()
    text = (PARAMS / "platforms" / "eks.yaml").read_text()
    (tmp_path / "platforms" / "eks.yaml").write_text(text.replace("title: Amazon", "title: Our Amazon"))
    monkeypatch.setenv("RUNBOOK_PARAMS", str(tmp_path))
    loaded = params.load("eks", "tiny")
    assert loaded.platform.title.startswith("Our Amazon")
    assert loaded.files["platform"] == tmp_path / "platforms" / "eks.yaml"
    assert loaded.files["model"].parent.name == "models"


def test_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert params.load("gke", "qwen3-32b").platform.name == "gke"


@pytest.mark.parametrize("as_text", [True, False])
def test_explicit_paths(tmp_path: Path, as_text: bool) -> None:
    file = copy(tmp_path, ("title: Embedded sandbox", "title: by path"))
    assert params.load(str(file) if as_text else file, "tiny").platform.title == "by path"


def test_unknown_names_suggest_known_ones() -> None:
    with pytest.raises(params.ParamsError) as refused:
        params.load("sandbux", "qwen3-8B")
    message = str(refused.value)
    assert "platform = 'sandbux': one of aks, eks, gke, k3s, sandbox. Did you mean 'sandbox'?" in message
    assert "Did you mean 'qwen3-8b'?" in message


def test_missing_file() -> None:
    with pytest.raises(params.ParamsError, match=r"nowhere\.yaml.*no such file"):
        params.load("./nowhere.yaml", "tiny")


def test_unknown_field_names_its_line(tmp_path: Path) -> None:
    file = copy(tmp_path, ("  class: shared-fs", "  clas: shared-fs"))
    with pytest.raises(params.ParamsError) as refused:
        params.load(file, "tiny")
    message = str(refused.value)
    line = line_of(file, "clas:")
    assert f"{file}:{line}: platform.storage.clas = 'shared-fs': unknown field" in message
    assert "Did you mean 'class'?" in message
    assert "platform.storage.class: required but not given; allowed: a Kubernetes name" in message


def test_no_type_is_converted_in_files(tmp_path: Path) -> None:
    file = copy(tmp_path, ("per_node: 4", 'per_node: "4"'))
    with pytest.raises(params.ParamsError, match=r"platform\.gpu\.per_node = '4': allowed: integer"):
        params.load(file, "tiny")


def test_a_bad_list_item_is_named(tmp_path: Path) -> None:
    file = copy(tmp_path, ("effect: NoSchedule}", "effect: NoShedule}"))
    with pytest.raises(params.ParamsError) as refused:
        params.load(file, "tiny")
    assert "platform.gpu.tolerations[0].effect = 'NoShedule'" in str(refused.value)
    assert "one of NoSchedule, PreferNoSchedule, NoExecute or null. Did you mean 'NoSchedule'?" in str(refused.value)


def test_a_key_given_twice(tmp_path: Path) -> None:
    file = copy(tmp_path, ("namespace: llm", "namespace: llm\nname: again"))
    with pytest.raises(params.ParamsError, match=r"name: given twice, first in line 3"):
        params.load(file, "tiny")


@pytest.mark.parametrize(
    ("text", "message"), [("a: [", "not valid YAML"), ("- a", "must be a YAML mapping"), ("", "must be")]
)
def test_not_a_parameter_file(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    with pytest.raises(params.ParamsError, match=message):
        params.load(file, "tiny")


@pytest.mark.parametrize(
    ("mirror", "reference", "pulled"),
    [
        (None, "vllm/vllm-openai:v1", "vllm/vllm-openai:v1"),
        ("mirror.example:5000/x", "vllm/vllm-openai:v1", "mirror.example:5000/x/vllm/vllm-openai:v1"),
        ("mirror.example", "nvcr.io/nvidia/plugin:v1", "mirror.example/nvidia/plugin:v1"),
        ("mirror.example", "busybox:1", "mirror.example/busybox:1"),
    ],
)
def test_one_mirror_for_everything(mirror: str | None, reference: str, pulled: str) -> None:
    platform = params.load("eks", "tiny", {"images.mirror": mirror} if mirror else {}).platform
    assert platform.image(reference) == pulled
    assert platform.image(pulled) == pulled, "twice is as good as once"


@pytest.mark.parametrize(
    ("reference", "pulled"),
    [
        ("vllm/vllm-openai:v1", "cache.example/hub/vllm/vllm-openai:v1"),
        ("docker.io/vllm/vllm-openai:v1", "cache.example/hub/vllm/vllm-openai:v1"),
        ("busybox:1", "cache.example/hub/library/busybox:1"),
        ("quay.io/prometheus/prometheus:v3", "cache.example/quay/prometheus/prometheus:v3"),
        ("nvcr.io/nvidia/plugin:v1", "nvcr.io/nvidia/plugin:v1"),
    ],
)
def test_a_cache_with_a_prefix_for_each_upstream(reference: str, pulled: str) -> None:
    mirrors = {"docker.io": "cache.example/hub", "quay.io": "cache.example/quay"}
    images = params.load("eks", "tiny", {"images.mirrors": mirrors}).platform.images
    assert images.pulled(reference) == pulled and images.pulled(pulled) == pulled
    rest = images.model_copy(update={"mirror": "mirror.example"})
    assert rest.pulled("nvcr.io/nvidia/plugin:v1") == "mirror.example/nvidia/plugin:v1"
    assert rest.pulled(reference).startswith(("cache.example/", "mirror.example/"))
