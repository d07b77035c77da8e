"""The files of ``params/golden``: prompts whose answers are known well enough to tell wrong from right."""

from __future__ import annotations

import json
import re
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from ..files import directories
from .errors import ParamsError, Problem, did_you_mean
from .schema import Positive, Strict

FOLDER = "golden"
#: What a question says by itself: nothing that a file's ``request`` may replace.
_OWN = ("model", "messages", "prompt", "max_tokens", "max_completion_tokens", "temperature", "stream", "n")
_THINKING, _THOUGHT = "<think>", "</think>"


def answer_of(content: str) -> str:
    """What a server's answer says, without what the model thought before: a parser for that may be missing."""
    text = content.rpartition(_THOUGHT)[2].strip()
    return "" if text.startswith(_THINKING) else text


class GoldenPrompt(Strict):
    """One prompt, asked at temperature 0, and what its answer must satisfy; texts are compared without regard to case.

    ``max_tokens``: of the answer, with what a reasoning model thinks before it. What it thinks isn't compared.
    ``contains``: all of them; ``contains_any``: one of them; ``excludes``: none of them; ``matches``: a regular
    expression found in it; ``is_json``: the whole answer is a JSON document.
    """

    name: str = Field(min_length=1)
    prompt: str = Field(min_length=1)
    max_tokens: Positive = 64
    contains: list[str] = Field(default_factory=list)
    contains_any: list[str] = Field(default_factory=list)
    excludes: list[str] = Field(default_factory=list)
    matches: str | None = None
    is_json: bool = False

    @field_validator("matches")
    @classmethod
    def _is_a_pattern(cls, text: str | None) -> str | None:
        try:
            re.compile(text or "")
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from error
        return text

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if not (self.contains or self.contains_any or self.excludes or self.matches or self.is_json):
            raise ValueError("any answer would do: say what it must satisfy")
        return self

    def wrong(self, answer: str) -> list[str]:
        """What the answer doesn't satisfy, in words; empty if it is right."""
        answer = answer_of(answer)
        text = answer.casefold()
        found = [f"{part!r} is missing" for part in self.contains if part.casefold() not in text]
        if self.contains_any and not any(part.casefold() in text for part in self.contains_any):
            found.append(f"none of {', '.join(map(repr, self.contains_any))} is in it")
        found += [f"{part!r} is in it" for part in self.excludes if part.casefold() in text]
        if self.matches and not re.search(self.matches, answer, re.IGNORECASE):
            found.append(f"nothing in it matches {self.matches!r}")
        if self.is_json:
            try:
                json.loads(answer)
            except ValueError:
                found.append("it is no JSON")
        return found


class Golden(Strict):
    """One file.

    ``request``: more fields of every request, as vLLM's API has them (``chat_template_kwargs``, ``seed`` …). If the
    stable version refuses them, both are asked without.
    """

    request: dict[str, Any] = Field(default_factory=dict)
    prompts: list[GoldenPrompt] = Field(min_length=1)

    @field_validator("request")
    @classmethod
    def _leaves_the_question_alone(cls, fields: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(fields.keys() & set(_OWN)):
            raise ValueError(f"{', '.join(taken)}: every prompt says that by itself")
        return fields


def load_golden(name: str) -> Golden:
    """The prompts of a file of ``params/golden``.

    Raises:
        ParamsError: there is no such file, or it is wrong.
    """
    from .load import origins, read, validate  # the platform's fields come first: they name the file

    places = [directory / FOLDER for directory in directories("params")]
    file = next((place / f"{name}.yaml" for place in places if (place / f"{name}.yaml").is_file()), None)
    if file is None:
        known = sorted({each.stem for place in places for each in place.glob("*.yaml")})
        raise ParamsError(
            [Problem("argument", "canary.golden", name, f"one of {', '.join(known)}", did_you_mean(name, known))]
        )
    problems: list[Problem] = []
    document, lines = read(file)
    found = validate(FOLDER, Golden, document, {}, origins(FOLDER, file, lines), problems)
    if found is None:
        raise ParamsError(problems)
    return found
