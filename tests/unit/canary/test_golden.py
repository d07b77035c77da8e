"""Golden prompts: what an answer must satisfy, and files that make no sense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vllm_runbook import params
from vllm_runbook.params.check import problems
from vllm_runbook.params.errors import ParamsError
from vllm_runbook.params.golden import GoldenPrompt, answer_of, load_golden

ROOT = Path(__file__).parents[3]


def wrong(answer: str, **conditions: Any) -> list[str]:
    return GoldenPrompt(name="n", prompt="p", **conditions).wrong(answer)


def test_answers_are_held_against_every_condition() -> None:
    assert wrong("It is PARIS.", contains=["Paris"]) == []
    assert wrong("It is Rome.", contains=["Paris"]) == ["'Paris' is missing"]
    assert wrong("red", contains_any=["red", "blue"]) == [] != wrong("green", contains_any=["red", "blue"])
    assert wrong("sorry, no", excludes=["sorry"]) == ["'sorry' is in it"]
    assert wrong("it is 42.", matches=r"\b42\b") == [] != wrong("it is 420", matches=r"\b42\b")
    assert wrong('{"a": 1}', is_json=True) == [] != wrong("here: {}", is_json=True)


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        ("Paris", "Paris"),
        ("<think>\nNot Rome.\n</think>\n\nParis", "Paris"),
        ("Not Rome.\n</think>\n\nParis", "Paris"),  # the template began the thought
        ("<think>Paris is", ""),
        ("", ""),
    ],
)
def test_what_a_model_thinks_is_no_answer(content: str, answer: str) -> None:
    assert answer_of(content) == answer
    assert wrong(content, contains=["Paris"]) == ([] if answer else ["'Paris' is missing"])
    assert wrong(content, excludes=["Rome"]) == []


@pytest.mark.parametrize("field", ["model", "messages", "max_tokens", "temperature", "stream"])
def test_a_request_leaves_the_question_alone(tmp_path: Path, field: str) -> None:
    file = tmp_path / "golden" / "x.yaml"
    file.parent.mkdir()
    file.write_text(f"request: {{{field}: 1}}\nprompts: [{{name: a, prompt: b, contains: [c]}}]\n")
    (found,) = problems([file])
    assert f"{field}: every prompt says that by itself" in found.allowed


def test_the_general_file_lets_a_reasoning_model_end() -> None:
    """gpt-oss always thinks, and Qwen3 unless it is told not to; each takes hundreds of tokens for it."""
    golden = load_golden("general")
    assert golden.request == {"chat_template_kwargs": {"enable_thinking": False}}
    assert min(each.max_tokens for each in golden.prompts) >= 1024


@pytest.mark.parametrize("name", sorted(file.stem for file in (ROOT / "params" / "golden").glob("*.yaml")))
def test_every_file_is_valid(name: str) -> None:
    assert len(load_golden(name).prompts) >= 2
    assert problems([ROOT / "params" / "golden" / f"{name}.yaml"]) == []


@pytest.mark.parametrize("name", sorted(file.stem for file in (ROOT / "params" / "platforms").glob("*.yaml")))
def test_platforms_name_files_that_are_there(name: str) -> None:
    if chosen := params.load(name, "tiny").platform.canary:
        assert load_golden(chosen.golden)


def test_a_file_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(ParamsError, match=r"sandbox"):
        load_golden("sandbx")


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("{name: a, prompt: b}", "any answer would do"),
        ("{name: a, prompt: b, matches: '('}", "no regular expression"),
        ("{name: a, prompt: b, contain: [c]}", "contain"),
    ],
)
def test_a_prompt_that_makes_no_sense(tmp_path: Path, prompt: str, words: str) -> None:
    file = tmp_path / "golden" / "x.yaml"
    file.parent.mkdir()
    file.write_text(f"prompts: [{prompt}]\n")
    (found,) = problems([file])
    assert words in f"{found.field} {found.allowed}"
