"""Golden prompts: questions whose right answers are known, asked of one version directly and at temperature 0."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import tenacity

from ..cluster import ApiError, PodTunnel
from ..errors import RunbookError
from ..notebook import Notebook
from ..params.golden import Golden, GoldenPrompt, answer_of, load_golden
from ..tables import Table
from . import deploy

_PATH = "v1/chat/completions"
#: A server under load that refuses a prompt is asked again after so long.
_AGAIN_SECONDS = 0.5


@dataclass(frozen=True)
class GoldenAnswer:
    """One answer without what the model thought before, and what is wrong with it."""

    prompt: GoldenPrompt
    text: str
    wrong: tuple[str, ...]


def agreed(book: Notebook, name: str, patience: float) -> Golden:
    """A file of ``params/golden`` whose prompts the stable version answers right: what it fails is no measure.

    Returns it without the fields of ``request`` if the stable version takes none of them; then neither is asked with.

    Args:
        patience: seconds that one answer may take, or that the server may refuse it for being busy.

    Raises:
        ParamsError: the file isn't there, or is wrong.
        ApiError: the stable version refuses a prompt.
        RunbookError: it answers one wrong: which, and what it says; or it doesn't answer.
    """
    server = replace(deploy.server(book), timeout=patience)
    golden = _taken(book, server, load_golden(name))
    answers = [_asked(book, server, golden, each) for each in golden.prompts]
    if wrong := [each for each in answers if each.wrong]:
        raise RunbookError(
            f"The stable version fails golden prompts: params/golden/{name}.yaml is wrong, and not the new version",
            why="\n".join(f"{each.prompt.name}: {', '.join(each.wrong)}; the answer: {each.text!r}" for each in wrong),
            next_step="Ask what the stable version answers right: mend the file, or name another one (canary.golden).\n"
            "Models that think first need more max_tokens, or a request that has them answer at once (docs/canary.md).",
        )
    return golden


def _taken(book: Notebook, server: PodTunnel, golden: Golden) -> Golden:
    """The file as the stable version takes it: Mistral's tokenizers, for one, refuse any chat_template_kwargs."""
    if golden.request:
        try:
            server.json(_PATH, _body(book, golden, golden.prompts[0]) | {"max_tokens": 1})
        except ApiError as error:
            if error.code != 400:
                raise
            print(f"golden prompts are asked without {', '.join(golden.request)}: {error.message}")
            return golden.model_copy(update={"request": {}})
    return golden


def ask(book: Notebook, golden: Golden, service: str, patience: float) -> list[GoldenAnswer]:
    """Ask every prompt, one after the other; those after one that nobody answered aren't asked.

    By port-forward to a pod of the Service, with the API key: whatever share of the traffic it has.

    Args:
        patience: seconds that one answer may take, or that the server may refuse it for being busy.
    """
    found: list[GoldenAnswer] = []
    server = replace(deploy.server(book, service), timeout=patience)
    for each in golden.prompts:
        try:
            found.append(_asked(book, server, golden, each))
        except RunbookError as error:
            found.append(GoldenAnswer(each, "", (error.why or error.what,)))
            if not isinstance(error, ApiError):
                break
    return found


def _asked(book: Notebook, server: PodTunnel, golden: Golden, prompt: GoldenPrompt) -> GoldenAnswer:
    tries = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_busy),
        wait=tenacity.wait_fixed(_AGAIN_SECONDS),
        stop=tenacity.stop_after_delay(server.timeout),
        reraise=True,
    )
    (choice,) = tries(server.json, _PATH, _body(book, golden, prompt))["choices"]
    text = answer_of(str(choice["message"]["content"] or ""))
    wrong = prompt.wrong(text)
    if wrong and choice["finish_reason"] == "length":
        wrong.append(f"it ended at max_tokens {prompt.max_tokens}" + ("" if text else ", still thinking"))
    return GoldenAnswer(prompt, text, tuple(wrong))


def _busy(error: BaseException) -> bool:
    """Whether the server has too much to do just now: no wrong answer yet, and counted by the gate of refusals."""
    return isinstance(error, ApiError) and error.code == 503


def _body(book: Notebook, golden: Golden, prompt: GoldenPrompt) -> dict[str, Any]:
    return {
        "model": book.params.model.served_name,
        "messages": [{"role": "user", "content": prompt.prompt}],
        "max_tokens": prompt.max_tokens,
        "temperature": 0,
        **golden.request,
    }


def failed(answers: list[GoldenAnswer]) -> str:
    """What is wrong with the answers, in words; empty if all are right."""
    return "; ".join(f"{each.prompt.name}: {', '.join(each.wrong)}" for each in answers if each.wrong)


def table(answers: list[GoldenAnswer]) -> Table:
    """Prompts, answers, and what is wrong with them."""
    rows = [(each.prompt.name, each.prompt.prompt, each.text, ", ".join(each.wrong) or "right") for each in answers]
    return Table(("what", "prompt", "answer", "and it is"), rows)
