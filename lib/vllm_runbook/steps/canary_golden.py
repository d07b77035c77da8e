"""Golden prompts: questions whose right answers are known, asked of one version directly and at temperature 0."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import RunbookError
from ..notebook import Notebook
from ..params.golden import GoldenPrompt, load_golden
from ..tables import Table
from . import deploy


@dataclass(frozen=True)
class GoldenAnswer:
    """One answer, and what is wrong with it."""

    prompt: GoldenPrompt
    text: str
    wrong: tuple[str, ...]


def ask(book: Notebook, name: str, service: str) -> list[GoldenAnswer]:
    """Ask every prompt of a file of ``params/golden``.

    By port-forward to a pod of the Service, with the API key: whatever share of the traffic it has.

    Raises:
        ParamsError: the file isn't there, or is wrong.
    """
    prompts, found = load_golden(name).prompts, []
    server = deploy.server(book, service)
    for each in prompts:
        body = {
            "model": book.params.model.served_name,
            "messages": [{"role": "user", "content": each.prompt}],
            "max_tokens": each.max_tokens,
            "temperature": 0,
        }
        try:
            answer = server.json("v1/chat/completions", body)
            text = str(answer["choices"][0]["message"]["content"] or "")
            wrong = each.wrong(text)
        except RunbookError as error:
            text, wrong = "", [error.why or error.what]
        found.append(GoldenAnswer(each, text, tuple(wrong)))
    return found


def failed(answers: list[GoldenAnswer]) -> str:
    """What is wrong with the answers, in words; empty if all are right."""
    return "; ".join(f"{each.prompt.name}: {', '.join(each.wrong)}" for each in answers if each.wrong)


def table(answers: list[GoldenAnswer]) -> Table:
    """Prompts, answers, and what is wrong with them."""
    rows = [(each.prompt.name, each.prompt.prompt, each.text, ", ".join(each.wrong) or "right") for each in answers]
    return Table(("what", "prompt", "answer", "and it is"), rows)
