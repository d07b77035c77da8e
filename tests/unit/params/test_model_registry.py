"""Registries: what is wrong is named with its line, its value and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from vllm_runbook import params
from vllm_runbook.params import ParamsError
from vllm_runbook.params.check import problems
from vllm_runbook.params.load import FOLDERS, names
from vllm_runbook.params.registry import Catalogue, load_registry

GOOD = """
name: mine
models:
  - model: qwen3-8b
    served_names: [qwen3-8b, chat]
    adapters:
      - {name: sql, repo: org/sql, rank: 32}
  - model: gpt-oss-20b
    min_replicas: 0
"""


def loaded(directory: Path, text: str) -> Catalogue:
    file = directory / "registry" / "mine.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return load_registry(params.load("sandbox", "tiny", {"registry": str(file)}).platform)


def refusal(directory: Path, text: str) -> str:
    with pytest.raises(ParamsError) as caught:
        loaded(directory, text)
    return str(caught.value)


def test_ours_are_valid_and_have_both_kinds() -> None:
    assert names("registry") == ["default", "sandbox"]
    for name in names("registry"):
        found = load_registry(params.load("sandbox", "tiny", {"registry": name}).platform)
        assert any(each.entry.cold for each in found.models) and any(not each.entry.cold for each in found.models)


def test_names_defaults_and_slugs(tmp_path: Path) -> None:
    chat, cold = loaded(tmp_path, GOOD).models
    assert chat.names == ["qwen3-8b", "chat"] and not chat.entry.cold and chat.entry.max_replicas == 1
    assert cold.names == ["gpt-oss-20b"] and cold.entry.cold
    (mistral,) = loaded(tmp_path, "name: m\nmodels: [{model: mistral-7b-instruct-v0.3}]\n").models
    assert mistral.slug == "mistral-7b-instruct-v0-3"


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("served_names", "served_nmaes", ["mine.yaml:5", "models[0].served_nmaes", "Did you mean 'served_names'?"]),
        ("model: gpt-oss-20b", "model: gpt-oss-20", ["mine.yaml:8", "'gpt-oss-20'", "one of", "'gpt-oss-20b'?"]),
        ("rank: 32", "rank: 33", ["mine.yaml:7", "models[0].adapters[0].rank = 33", "1, 8, 16, 32"]),
        ("min_replicas: 0", "min_replicas: 3", ["models[1]", "max_replicas is below min_replicas"]),
        ("repo: org/sql", "repo: sql", ["adapters[0].repo = 'sql'", "organisation/name"]),
        ("name: sql", "name: chat", ["adapters[0].name = 'chat'", "models[0].served_names[1] has it already"]),
        ("model: gpt-oss-20b", "model: qwen3-8b", ["qwen3-8b is there more than once"]),
        ("min_replicas: 0", "cooldown_seconds: -1", ["cooldown_seconds = -1", "at least 0"]),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, before: str, after: str, told: list[str]) -> None:
    words = refusal(tmp_path, GOOD.replace(before, after))
    assert all(each in words for each in told), words


def test_no_such_registry() -> None:
    with pytest.raises(ParamsError, match="platform.registry|registry") as caught:
        load_registry(params.load("sandbox", "tiny", {"registry": "sandbx"}).platform)
    assert "Did you mean 'sandbox'?" in str(caught.value)


def test_a_platform_without_one_says_what_there_is() -> None:
    with pytest.raises(ParamsError, match=r"platform.registry: a file of params/registry \(default, sandbox\)"):
        load_registry(params.load("eks", "tiny").platform)


def test_params_check_knows_registries(tmp_path: Path) -> None:
    file = tmp_path / FOLDERS["registry"] / "mine.yaml"
    file.parent.mkdir()
    file.write_text(GOOD)
    assert problems([file]) == []
    file.write_text(GOOD.replace("qwen3-8b\n", "qwen3-9b\n", 1))
    (problem,) = problems([file])
    assert problem.field == "registry.models[0].model" and problem.source.endswith("mine.yaml:4")
