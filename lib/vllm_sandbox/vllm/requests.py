"""Requests: what is asked for, and the errors of the real server when it can't be."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from vllm_sandbox.vllm import tokenizer


class RequestError(Exception):
    """An error answer.

    Attributes:
        code: HTTP status; kind, param: the envelope's ``type`` and ``param``.
    """

    def __init__(self, message: str, kind: str = "BadRequestError", param: str | None = None, code: int = 400) -> None:
        super().__init__(message)
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}
        self.code = code


BUSY = RequestError(
    "The engine is currently busy and cannot accept new requests. Please try again later or on a different instance.",
    "Service Unavailable",
    None,
    503,
)
DEAD = RequestError(
    "EngineCore encountered an issue. See stack trace (above) for the root cause.", "InternalServerError", None, 500
)


@dataclass(frozen=True)
class Prompt:
    """What one answer (or ``n`` of them) continues.

    Attributes:
        text: what the answer's length is derived from; tokens: its length.
        max_tokens: of each answer.
    """

    text: str
    tokens: int
    max_tokens: int


@dataclass(frozen=True)
class End:
    """Where an answer ends by itself.

    Attributes:
        tokens: its length; reason: the finish_reason.
        stop: the stop word that ends it; characters: of the text before that word.
    """

    tokens: int
    reason: str
    stop: str | None = None
    characters: int | None = None


@dataclass(frozen=True)
class Job:
    """One valid completion request: ``n`` answers to each of its prompts.

    Attributes:
        usage_in_chunks: every chunk of the stream tells the usage so far.
    """

    model: str
    chat: bool
    prompts: tuple[Prompt, ...]
    n: int = 1
    stream: bool = False
    include_usage: bool = False
    usage_in_chunks: bool = False
    ignore_eos: bool = False
    min_tokens: int = 0
    stop: tuple[str, ...] = ()

    @property
    def answers(self) -> int:
        return self.n * len(self.prompts)

    @property
    def prompt_tokens(self) -> int:
        return sum(prompt.tokens for prompt in self.prompts)

    def prompt(self, index: int) -> Prompt:
        """The prompt of answer number ``index``."""
        return self.prompts[index // self.n]

    def end(self, index: int) -> End:
        """Where answer number ``index`` ends, and why there."""
        prompt = self.prompt(index)
        natural = max(tokenizer.natural_length(prompt.text, index % self.n), self.min_tokens)
        within = natural <= prompt.max_tokens and not self.ignore_eos
        length, reason = (natural, "stop") if within else (prompt.max_tokens, "length")
        text = ""
        for position in range(length if self.stop else 0):
            text += tokenizer.answer_piece(position)
            if word := next((word for word in self.stop if word in text), None):
                return End(position + 1, "stop", word, text.index(word))
        return End(length, reason)


def body_of(raw: bytes, content_type: str = "application/json") -> dict[str, Any]:
    """The JSON object of a request.

    Raises:
        RequestError: it isn't one.
    """
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise _invalid("Unsupported Media Type: Only 'application/json' is allowed", None)
    try:
        body = json.loads(raw)
    except ValueError as error:
        where = getattr(error, "pos", 0)
        reason = getattr(error, "msg", str(error))
        raise _field(
            f"body.{where}",
            "json_invalid",
            "JSON decode error",
            "<dict of 0 items>",
            f", 'ctx': {{'error': '{reason}'}}",
        ) from error
    if not isinstance(body, dict):
        message = "Input should be a valid dictionary or object to extract fields from"
        raise _field("body", "model_attributes_type", message, _shown(body))
    return body


def required(body: dict[str, Any], name: str) -> Any:
    """A field that must be there.

    Raises:
        RequestError: it isn't.
    """
    if name not in body:
        raise _field(f"body.{name}", "missing", "Field required", _shown(body))
    return body[name]


def _invalid(detail: str, param: str | None) -> RequestError:
    return RequestError(f"1 validation error:\n  {detail}", "Bad Request", param)


def _field(where: str, kind: str, message: str, value: str, more: str = "") -> RequestError:
    """As the real server tells of a field that its schema refuses."""
    shown = value if value.startswith("'") else f"'{value}'"
    return _invalid(f"{{'type': '{kind}', 'loc': '{where}', 'msg': '{message}', 'input': {shown}{more}}}", where)


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return f"<{type(value).__name__} of {len(value)} items>"
    return str(value)


def parse(body: dict[str, Any], *, chat: bool, names: list[str], max_model_len: int) -> Job:
    """Validate a completion request, in the real server's order.

    Raises:
        RequestError: it can't be served.
    """
    if chat:
        required(body, "messages")
    for name in ("max_tokens", "max_completion_tokens", "n"):
        _check_integer(body, name)
    options = body.get("stream_options") or {}
    if options and not body.get("stream"):
        message = "Stream options can only be defined when `stream=True`. (parameter=stream_options)"
        raise RequestError(message, param="stream_options")
    if not chat and not body.get("prompt"):
        raise RequestError(
            "Either prompt or prompt_embeds must be provided and non-empty. (parameter=prompt)", param="prompt"
        )
    model = check_model(body, names)
    if chat and not body["messages"]:
        raise RequestError("Cannot apply chat template to an empty conversation. Provide at least one message.")
    texts = [chat_text(body["messages"])] if chat else _texts(body["prompt"])
    extra = chat_tokens(body["messages"]) if chat else 0
    asked = (
        body.get("max_completion_tokens") if body.get("max_completion_tokens") is not None else body.get("max_tokens")
    )
    prompts = []
    for text, tokens in texts:
        length = tokens + extra
        limit = _max_tokens(asked, length, max_model_len, default=None if chat else 16)
        prompts.append(Prompt(text, length, limit))
    _check_sampling(body)
    stop = body.get("stop") or []
    return Job(
        model=model,
        chat=chat,
        prompts=tuple(prompts),
        n=int(1 if body.get("n") is None else body["n"]),
        stream=bool(body.get("stream")),
        include_usage=bool(options.get("include_usage")),
        usage_in_chunks=bool(options.get("include_usage") and options.get("continuous_usage_stats")),
        ignore_eos=bool(body.get("ignore_eos")),
        min_tokens=int(body.get("min_tokens") or 0),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
    )


def _check_integer(body: dict[str, Any], name: str) -> None:
    value = body.get(name)
    if isinstance(value, str) and not value.lstrip("-").isdigit():
        message = "Input should be a valid integer, unable to parse string as an integer"
        raise _field(f"body.{name}", "int_parsing", message, value)


def check_model(body: dict[str, Any], names: list[str]) -> str:
    """The name under which the model is asked for.

    Raises:
        RequestError: 404, it isn't served.
    """
    model = body.get("model") or names[0]
    if model not in names:
        message = f"The model `{model}` does not exist. Valid aliases: {', '.join(names)}."
        raise RequestError(message, "NotFoundError", "model", 404)
    return str(model)


def _check_sampling(body: dict[str, Any]) -> None:
    count, temperature, top_p = body.get("n"), body.get("temperature"), body.get("top_p")
    if count is not None and int(count) < 1:
        raise RequestError(f"n must be at least 1, got {int(count)}.")
    if isinstance(temperature, int | float) and temperature < 0:
        value = float(temperature)
        raise RequestError(
            f"temperature must be non-negative, got {value}. (parameter=temperature, value={value})",
            param="temperature",
        )
    if isinstance(top_p, int | float) and not 0 < top_p <= 1:
        value = float(top_p)
        raise RequestError(f"top_p must be in (0, 1], got {value}. (parameter=top_p, value={value})", param="top_p")


def _max_tokens(asked: Any, prompt: int, limit: int, default: int | None) -> int:
    """How long an answer may get: what was asked for, cut to what the context has left.

    Raises:
        RequestError: more was asked for than the whole context, or the prompt fills it.
    """
    if asked is not None and int(asked) > limit:
        raise RequestError(
            f"max_tokens={asked} cannot be greater than max_model_len={limit}. Please request fewer output tokens. "
            f"(parameter=max_tokens, value={asked})",
            param="max_tokens",
        )
    if prompt > limit:
        least = limit + 1
        raise RequestError(
            f"This model's maximum context length is {limit} tokens. However, your prompt contains at least {least} "
            "input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the "
            f"input prompt. (parameter=input_tokens, value={least})",
            param="input_tokens",
        )
    left = limit - prompt
    wanted = min(int(asked) if asked is not None else default or left, left)
    if wanted < 1:
        raise RequestError(
            f"max_tokens must be at least 1, got {wanted}. (parameter=max_tokens, value={wanted})", param="max_tokens"
        )
    return wanted


def chat_text(messages: Any) -> tuple[str, int]:
    """A conversation's text, and its tokens without those of the template."""
    texts = []
    for message in messages if isinstance(messages, list) else []:
        content = message.get("content") if isinstance(message, dict) else ""
        if isinstance(content, list):
            content = " ".join(part.get("text", "") for part in content if isinstance(part, dict))
        texts.append(str(content or ""))
    text = "\n".join(texts)
    return text, tokenizer.count(text)


def chat_tokens(messages: list[Any]) -> int:
    """Tokens that the chat template adds."""
    return tokenizer.PER_CHAT + tokenizer.PER_MESSAGE * len(messages)


def _texts(prompt: Any) -> list[tuple[str, int]]:
    """Text and tokens of each prompt: one or several, each a text or a list of token ids."""
    if not isinstance(prompt, list):
        return [(str(prompt), tokenizer.count(str(prompt)))]
    if all(isinstance(item, int) for item in prompt):
        return [(" ".join(map(str, prompt)), len(prompt))]
    return [text for item in prompt for text in _texts(item)]
