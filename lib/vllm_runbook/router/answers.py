"""Errors in the shape that OpenAI's clients understand, and vLLM's own words where it has some."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web


class Refusal(Exception):
    """An answer that isn't a model's.

    Attributes:
        status: of HTTP; kind, param: the envelope's ``type`` and ``param``.
        retry_after: seconds after which it is worth another try; None: never, as it is.
    """

    def __init__(
        self, status: int, kind: str, message: str, param: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.param, self.retry_after = status, kind, param, retry_after

    def response(self) -> web.Response:
        """As it is sent."""
        error = {"message": str(self), "type": self.kind, "param": self.param, "code": self.status}
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return web.json_response({"error": error}, status=self.status, headers=headers)


def unknown(model: str, known: list[str]) -> Refusal:
    """Nobody serves this model; says who is served."""
    message = f"The model `{model}` does not exist. Valid models: {', '.join(known)}."
    return Refusal(404, "NotFoundError", message, "model")


def model_of(body: bytes) -> str:
    """The model that a request asks for.

    Raises:
        Refusal: the body is no JSON object, or names none: with several models there is no default.
    """
    try:
        found: Any = json.loads(body)
    except ValueError as error:
        raise Refusal(400, "BadRequestError", f"the body is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise Refusal(400, "BadRequestError", "the body must be a JSON object")
    model = found.get("model")
    if not isinstance(model, str) or not model:
        raise Refusal(400, "BadRequestError", "this endpoint serves several models: name one in `model`", "model")
    return model
