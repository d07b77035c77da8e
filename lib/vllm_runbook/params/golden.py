"""The files of ``params/golden``: prompts whose answers are known well enough to tell wrong from right."""

from __future__ import annotations

import json
import re
from typing import Self

from pydantic import Field, field_validator, model_validator

from ..files import directories
from .errors import ParamsError, Problem, did_you_mean
from .schema import Positive, Strict

FOLDER = "golden"


class GoldenPrompt(Strict):
    """One prompt, asked at temperature 0, and what its answer must satisfy; texts are compared without regard to case.

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
    """One file."""

    prompts: list[GoldenPrompt] = Field(min_length=1)


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
