"""Requests: what is asked for, and the errors of the real server when it can't be."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
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
class Job:
    """One valid completion request.

    Attributes:
        prompt: what the answer's length is derived from; prompt_tokens: its length.
        ends_after, end_reason: when it will end by itself.
    """

    model: str
    chat: bool
    prompt: str
    prompt_tokens: int
    max_tokens: int
    n: int = 1
    stream: bool = False
    include_usage: bool = False
    ignore_eos: bool = False
    min_tokens: int = 0
    stop: list[str] = field(default_factory=list)

    def end(self, index: int) -> tuple[int, str]:
        """Tokens of answer number ``index`` and why it ends there."""
        natural = max(tokenizer.natural_length(self.prompt, index), self.min_tokens)
        length, reason = (natural, "stop") if natural <= self.max_tokens else (self.max_tokens, "length")
        if self.ignore_eos:
            length, reason = self.max_tokens, "length"
        text = ""
        for position in range(length if self.stop else 0):
            text += tokenizer.answer_piece(position)
            if any(word in text for word in self.stop):
                return position + 1, "stop"
        return length, reason


def body_of(raw: bytes) -> dict[str, Any]:
    """The JSON object of a request.

    Raises:
        RequestError: it isn't one.
    """
    try:
        body = json.loads(raw)
    except ValueError as error:
        where = getattr(error, "pos", 0)
        reason = getattr(error, "msg", str(error))
        detail = (
            f"1 validation error:\n  {{'type': 'json_invalid', 'loc': 'body.{where}', 'msg': 'JSON decode error', "
            f"'input': '<dict of 0 items>', 'ctx': {{'error': '{reason}'}}}}"
        )
        raise RequestError(detail, "Bad Request", f"body.{where}") from error
    if not isinstance(body, dict):
        raise RequestError("1 validation error:\n  {'type': 'dict_type', 'loc': 'body'}", "Bad Request", "body")
    return body


def parse(body: dict[str, Any], *, chat: bool, names: list[str], max_model_len: int) -> Job:
    """Validate a completion request, in the real server's order.

    Raises:
        RequestError: it can't be served.
    """
    required = "messages" if chat else "prompt"
    if required not in body:
        detail = (
            f"1 validation error:\n  {{'type': 'missing', 'loc': 'body.{required}', 'msg': 'Field required', "
            f"'input': '<dict of {len(body)} items>'}}"
        )
        raise RequestError(detail, "Bad Request", f"body.{required}")
    model = check_model(body, names)
    _check_sampling(body)
    prompt = _chat_text(body["messages"]) if chat else _prompt_text(body["prompt"])
    extra = tokenizer.PER_CHAT + tokenizer.PER_MESSAGE * len(body["messages"]) if chat else 0
    tokens = (len(body["prompt"]) if _is_ids(body.get("prompt")) else tokenizer.count(prompt)) + extra
    asked = body.get("max_completion_tokens") or body.get("max_tokens")
    limit = _max_tokens(asked, tokens, max_model_len, default=None if chat else 16)
    stop = body.get("stop") or []
    return Job(
        model=model,
        chat=chat,
        prompt=prompt,
        prompt_tokens=tokens,
        max_tokens=limit,
        n=int(body.get("n") or 1),
        stream=bool(body.get("stream")),
        include_usage=bool((body.get("stream_options") or {}).get("include_usage")),
        ignore_eos=bool(body.get("ignore_eos")),
        min_tokens=int(body.get("min_tokens") or 0),
        stop=[stop] if isinstance(stop, str) else list(stop),
    )


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
    temperature = body.get("temperature")
    if isinstance(temperature, int | float) and temperature < 0:
        value = float(temperature)
        raise RequestError(
            f"temperature must be non-negative, got {value}. (parameter=temperature, value={value})",
            param="temperature",
        )


def _max_tokens(asked: Any, prompt: int, limit: int, default: int | None) -> int:
    if asked is not None and int(asked) > limit:
        raise RequestError(
            f"max_tokens={asked} cannot be greater than max_model_len={limit}. Please request fewer output tokens. "
            f"(parameter=max_tokens, value={asked})",
            param="max_tokens",
        )
    if asked is not None and int(asked) < 1:
        raise RequestError(
            f"max_tokens must be at least 1, got {asked}. (parameter=max_tokens, value={asked})", param="max_tokens"
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
    wanted = int(asked) if asked is not None else min(default or left, left)
    if wanted > left or wanted < 1:
        raise RequestError(
            f"This model's maximum context length is {limit} tokens. However, you requested {wanted} output tokens and "
            f"your prompt contains at least {prompt} input tokens, for a total of at least {prompt + wanted} tokens. "
            f"Please reduce the length of the input prompt or the number of requested output tokens. "
            f"(parameter=input_tokens, value={prompt})",
            param="input_tokens",
        )
    return wanted


def _chat_text(messages: Any) -> str:
    texts = []
    for message in messages if isinstance(messages, list) else []:
        content = message.get("content") if isinstance(message, dict) else ""
        if isinstance(content, list):
            content = " ".join(part.get("text", "") for part in content if isinstance(part, dict))
        texts.append(str(content or ""))
    return "\n".join(texts)


def _is_ids(prompt: Any) -> bool:
    return isinstance(prompt, list) and bool(prompt) and all(isinstance(item, int) for item in prompt)


def _prompt_text(prompt: Any) -> str:
    if _is_ids(prompt):
        return " ".join(map(str, prompt))
    return str(prompt[0]) if isinstance(prompt, list) and prompt else str(prompt)
