"""Who may read what, and how the hub says no.

Status, X-Error-Code and X-Error-Message are what huggingface_hub turns into its exceptions
(huggingface_hub/utils/_http.py, hf_raise_for_status). As on the real hub, a gated model's
description and list of files are public; its files are not.
"""

from __future__ import annotations

from dataclasses import dataclass

from vllm_sandbox.hub.models import ModelSpec


@dataclass(frozen=True)
class Account:
    """The owner of a token; ``granted`` tells whether gated models were granted to them."""

    name: str
    granted: bool


DEFAULT_TOKENS: dict[str, Account] = {
    "hf_sandbox_reader": Account("sandbox-reader", granted=True),
    "hf_sandbox_noaccess": Account("sandbox-noaccess", granted=False),
}


class HubError(Exception):
    """An answer other than success.

    Attributes:
        status: HTTP status.
        code: X-Error-Code, if any: GatedRepo, RepoNotFound, RevisionNotFound, EntryNotFound.
        message: X-Error-Message and the body's ``error``.
        headers: further headers of the answer.
    """

    def __init__(
        self, status: int, message: str, code: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = headers or {}


def authenticate(authorization: str | None, tokens: dict[str, Account]) -> Account | None:
    """The account of an Authorization header; None without one.

    Raises:
        HubError: 401, the token isn't valid.
    """
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or token not in tokens:
        raise HubError(401, "Invalid credentials in Authorization header")
    return tokens[token]


def repository_not_found(account: Account | None) -> HubError:
    """404; 401 for anonymous requests, which can't be told whether a private repository exists."""
    if account is None:
        return HubError(401, "Invalid username or password.", "RepoNotFound")
    return HubError(404, "Repository not found", "RepoNotFound")


def check_gate(spec: ModelSpec, account: Account | None, page: str) -> None:
    """Let pass whoever may read the model's files. ``page`` is the model's address for people.

    Raises:
        HubError: 401 without a token, 403 with the token of someone without access.
    """
    if not spec.gated or (account is not None and account.granted):
        return
    restricted = f"Access to model {spec.repo_id} is restricted"
    if account is None:
        message = f"{restricted}. You must have access to it and be authenticated to access it. Please log in."
        raise HubError(401, message, "GatedRepo")
    message = f"{restricted} and you are not in the authorized list. Visit {page} to ask for access."
    raise HubError(403, message, "GatedRepo")
