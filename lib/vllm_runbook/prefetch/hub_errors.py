"""What the hub client's exceptions mean for a prefetch."""

from __future__ import annotations

from dataclasses import dataclass

import httpx2
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from vllm_runbook.prefetch.outcomes import ExitCode, PrefetchError, Transient

_PASSING_STATUSES = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Source:
    """Where the model comes from. ``token`` is never printed."""

    repo: str
    revision: str
    endpoint: str
    token: str | None

    def __str__(self) -> str:
        return f"{self.repo} at revision {self.revision} from {self.endpoint}"

    def __repr__(self) -> str:
        return f"Source({self})"


def translate(error: Exception, source: Source) -> PrefetchError | Transient | None:
    """The prefetch's own error for one of the client's; None for exceptions that aren't about the hub."""
    match error:
        case GatedRepoError():
            return _gated(error, source)
        case RevisionNotFoundError():
            return PrefetchError(
                ExitCode.NOT_FOUND,
                f"{source.repo} has no revision {source.revision} on {source.endpoint}; name a branch, a tag or a "
                "full commit id that the model's page lists.",
            )
        case EntryNotFoundError():
            return PrefetchError(
                ExitCode.NOT_FOUND,
                f"A file of {source} is listed but not there; the repository changed meanwhile: run again.",
            )
        case RepositoryNotFoundError():
            return _no_repository(source)
        case HfHubHTTPError():
            return _status(error, source)
        case HFValidationError():
            return PrefetchError(
                ExitCode.BAD_ARGUMENTS, f"{source.repo!r} is not a model id; give organisation/name to --repo."
            )
        case OfflineModeIsEnabled():
            return PrefetchError(
                ExitCode.BAD_ARGUMENTS,
                f"Can't download {source}: HF_HUB_OFFLINE is set; unset it in the prefetch's environment.",
            )
        case httpx2.UnsupportedProtocol() | httpx2.InvalidURL():
            return PrefetchError(
                ExitCode.BAD_ARGUMENTS,
                f"HF_ENDPOINT {source.endpoint!r} is not an address; give one such as https://huggingface.co.",
            )
        case httpx2.TransportError():
            return Transient(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
    return None


def _gated(error: GatedRepoError, source: Source) -> PrefetchError:
    if error.response.status_code == 403:
        return PrefetchError(
            ExitCode.GATED,
            f"{source.repo} is gated and this token's owner has no access to it; ask for access on "
            f"{source.endpoint}/{source.repo} with that account, then run again.",
        )
    return PrefetchError(
        ExitCode.AUTH,
        f"{source.repo} is gated and no valid token was sent; put a token of an account with access into the Secret "
        "that sets HF_TOKEN.",
    )


def _no_repository(source: Source) -> PrefetchError:
    hidden = "" if source.token else " (or it is private, and no HF_TOKEN was given)"
    return PrefetchError(
        ExitCode.NOT_FOUND, f"{source.endpoint} has no model {source.repo}{hidden}; check --repo and HF_ENDPOINT."
    )


def _status(error: HfHubHTTPError, source: Source) -> PrefetchError | Transient:
    status = error.response.status_code
    if status in _PASSING_STATUSES:
        return Transient(f"the hub answered {status}", _retry_after(error.response))
    if status == 401:
        return PrefetchError(
            ExitCode.AUTH,
            f"{source.endpoint} refused the token in HF_TOKEN as invalid (401); create a new one with read access and "
            "update the Secret.",
        )
    if status == 403:
        return PrefetchError(
            ExitCode.AUTH,
            f"{source.endpoint} forbids {source.repo} to this token (403); give the token read access to the contents "
            "of gated and private repositories.",
        )
    return PrefetchError(
        ExitCode.NETWORK,
        f"{source.endpoint} answered {status} for {source.repo}; check that HF_ENDPOINT is a Hugging Face hub.",
    )


def _retry_after(response: httpx2.Response) -> float | None:
    value = response.headers.get("Retry-After", "").strip()
    return float(value) if value.isdigit() else None
