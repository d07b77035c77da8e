"""Overrides: which field a key means, how text becomes a value, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from runbook_cli.main import main
from vllm_runbook import notebook, params
from vllm_runbook.errors import RunbookError


def load(**overrides: Any) -> params.Params:
    return params.load("sandbox", "qwen3-8b", {key.replace("__", "."): value for key, value in overrides.items()})


def field(loaded: params.Params, path: str) -> Any:
    value: Any = loaded
    for part in path.split("."):
        value = getattr(value, part)
    return value


@pytest.mark.parametrize(
    ("key", "text", "path", "value"),
    [
        ("model.max_model_len", "8192", "model.max_model_len", 8192),
        ("max_model_len", 8192, "model.max_model_len", 8192),
        ("storage.class", "block-rwo", "platform.storage.class_name", "block-rwo"),
        ("platform.storage.class", "block-rwo", "platform.storage.class_name", "block-rwo"),
        ("storage.size", "200Gi", "platform.storage.size", "200Gi"),
        ("time_scale", "1e1", "platform.time_scale", 10.0),
        ("time_scale", "5", "platform.time_scale", 5.0),
        ("gated", "true", "model.gated", True),
        ("notice", "null", "platform.notice", None),
        ("max_num_seqs", "none", "model.max_num_seqs", None),
        ("extra_args", "--enable-foo --seed 1", "model.extra_args", ["--enable-foo", "--seed", "1"]),
        ("extra_args", "[--a, --b]", "model.extra_args", ["--a", "--b"]),
        ("revision", 1234567, "model.revision", "1234567"),  # papermill makes numbers of such text
        ("namespace", "team-a", "platform.namespace", "team-a"),  # the workload's, not the device plugin's
        ("device_plugin.namespace", "gpu", "platform.device_plugin.namespace", "gpu"),
        ("labels", "{a.b/c: d}", "platform.spot.labels", {"a.b/c": "d"}),
    ],
)
def test_key_and_text(key: str, text: Any, path: str, value: Any) -> None:
    loaded = params.load("sandbox", "qwen3-8b", {key: text})
    assert field(loaded, path) == value
    assert type(field(loaded, path)) is type(value)


def test_nested_mappings_are_dotted_keys() -> None:
    loaded = params.load(
        "sandbox", "qwen3-8b", {"platform": {"storage": {"class": "block-rwo"}, "spot": {"labels": {"x.y/z": "1"}}}}
    )
    assert loaded.platform.storage.class_name == "block-rwo"
    assert loaded.platform.spot is not None
    assert loaded.platform.spot.labels == {"x.y/z": "1"}
    assert set(loaded.overrides) == {"platform.storage.class", "platform.spot.labels"}


@pytest.mark.parametrize("empty", ["", "  "])
def test_empty_text_is_not_given(empty: str) -> None:
    loaded = params.load("sandbox", "qwen3-8b", {"max_model_len": empty, "no.such.thing": empty})
    assert loaded == params.load("sandbox", "qwen3-8b")


def test_a_field_inside_a_null_object() -> None:
    quantization = load(quantization__method="fp8", quantization__online="true").model.quantization
    assert quantization is not None
    assert (quantization.method, quantization.online) == ("fp8", True)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("storage.clas", "x", ["storage.clas = 'x'", "Did you mean 'storage.class'"]),
        ("platform.storage.clas", "x", ["Did you mean 'platform.storage.class'"]),
        ("max_modell_len", 1, ["Did you mean 'max_model_len'"]),
        ("key", "x", ["ambiguous", "platform.gpu.node_label.key", "platform.hub.token_secret.key", "full name"]),
        ("gpu.per_node", "99", ["override platform.gpu.per_node = 99", "integer, at least 1 and at most 16"]),
        ("max_model_len", "lots", ["model.max_model_len = 'lots'", "allowed: integer, at least 16"]),
        ("gpu_memory_utilization", "1.5", ["1.5", "number, greater than 0 and at most 1"]),
        ("storage.strategy", "share", ["one of shared, prefilled, per_node", "Did you mean 'shared'?"]),
        ("gated", "maybe", ["'maybe'", "true or false"]),
        ("images.vllm", "vllm/vllm-openai:latest", ["latest", "name a version"]),
        ("images.vllm", "vllm/vllm-openai", ["name a version"]),
        ("images.vllm", "vllm/vllm-openai@sha256:abc", ["a digest is sha256: and 64 hexadecimal digits"]),
        ("network.control_plane", ["10.0.0.1/8"], ["10.0.0.1/8", "host bits"]),
        ("extra_args", "--max-model-len=4", ["--max-model-len has a field of its own", "max_model_len"]),
        ("access_modes.fill", "ReadOnlyMany", ["needs access_modes.fill ReadWriteMany"]),
        ("spot.pod_seconds", "500", ["pod_seconds can't exceed notice_seconds"]),
        ("storage.size", "200", ["'200'", "a quantity such as 200Gi"]),
        ("served_name", 1.5, ["1.5", "text"]),
    ],
)
def test_refusals_name_field_value_and_what_is_allowed(key: str, value: Any, expected: list[str]) -> None:
    with pytest.raises(params.ParamsError) as refused:
        params.load("sandbox", "qwen3-8b", {key: value})
    message = str(refused.value)
    for part in expected:
        assert part in message


def test_all_problems_are_listed_at_once() -> None:
    with pytest.raises(params.ParamsError) as refused:
        load(max_model_len="lots", storage__strategy="share", foo=1, gpu__per_node=0)
    assert {problem.field for problem in refused.value.problems} == {
        "foo",
        "model.max_model_len",
        "platform.storage.strategy",
        "platform.gpu.per_node",
    }
    assert "4 problems" in str(refused.value)


def test_the_same_field_by_two_names() -> None:
    with pytest.raises(params.ParamsError, match=r"given twice.*model\.max_model_len"):
        load(max_model_len=1024, model__max_model_len=2048)


def test_replace_validates_and_remembers() -> None:
    first = load(max_model_len=2048)
    second = first.replace({"tensor_parallel_size": 2})
    assert (second.model.max_model_len, second.model.tensor_parallel_size) == (2048, 2)
    assert second.overrides == {"model.max_model_len": 2048, "model.tensor_parallel_size": 2}
    assert first.model.tensor_parallel_size == 1
    with pytest.raises(params.ParamsError, match="tensor_parallel_size = 0"):
        first.replace({"tensor_parallel_size": 0})
    with pytest.raises(params.ParamsError, match="no such parameter"):
        first.replace({"tensor_paralel": 1})


#: Every command that takes -p, with what else it needs.
COMMANDS = (
    ["run", "00"],
    ["verify"],
    ["roles"],
    ["schedule"],
    ["doctor"],
    ["drill", "list"],
    ["monitoring", "DIRECTORY"],
    ["export", "helm", "DIRECTORY"],
)


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_every_command_says_alike_what_a_parameter_is(words: list[str], tmp_path: Path) -> None:
    own = [str(tmp_path / "out") if word == "DIRECTORY" else word for word in words]
    done = CliRunner().invoke(main, [*own, "-p", "storage.class=a=b", "-p", "one", "-p", "two"])
    assert done.exit_code not in (0, 1)
    for bad in ("one", "two"):
        assert f"argument -p = '{bad}': a parameter is NAME=VALUE." in done.output
    assert "storage.class" not in done.output and not (tmp_path / "out").exists()


def test_pairs_may_have_any_text_in_their_values() -> None:
    assert params.from_pairs(["a=x, y=z", "b=", "a=2"]) == {"a": "2", "b": ""}
    assert params.from_pairs(["extra_args=--a b, c=d"]) == {"extra_args": "--a b, c=d"}


def test_drills_take_values_with_spaces_and_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def begin(step: str, platform: str, model: str, overrides: Any) -> None:
        given.append(overrides)
        raise RunbookError("enough")

    monkeypatch.setattr(notebook, "begin", begin)
    CliRunner().invoke(main, ["drill", "list", "-p", "extra_args=--a b, c=d"])
    assert given == [{"extra_args": "--a b, c=d"}]
