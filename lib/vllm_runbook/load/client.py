"""One attempt at a request: sent, read to its end, judged."""

from __future__ import annotations

import asyncio
import json
from array import array
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol, Self

import aiohttp
from yarl import URL

from vllm_runbook.load.answer import AnswerStream
from vllm_runbook.load.outcomes import Outcome, dropped, of_answer, of_failure, of_refusal
from vllm_runbook.load.prompts import prompt
from vllm_runbook.surroundings import proxy_for


@dataclass(frozen=True)
class Target:
    """What is asked of whom.

    Attributes:
        url: of the server, without ``/v1``.
        prompt_tokens: about that many.
        exact: the answer has ``output_tokens`` tokens (ignore_eos); otherwise it may end before.
        seed: other prompts with another seed.
        api_key: sent as bearer token; never printed.
    """

    url: URL
    model: str
    prompt_tokens: int
    output_tokens: int
    exact: bool = True
    seed: int = 0
    api_key: str | None = field(default=None, repr=False)

    def body(self, number: int) -> bytes:
        """The body of request ``number``."""
        text = prompt(number, self.prompt_tokens, self.seed)
        asked = {"model": self.model, "messages": [{"role": "user", "content": text}], "max_tokens": self.output_tokens}
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
        return json.dumps(asked | ({"ignore_eos": True} if self.exact else {})).encode()


@dataclass
class Timing:
    """When the chunks of an answer came. Seconds of ``perf_counter``.

    Attributes:
        began: when the request's first attempt was handed to the socket code.
        gaps: between chunks after the first one; 0 for those that came together.
    """

    began: float
    first: float | None = None
    last: float = 0.0
    gaps: array[float] = field(default_factory=lambda: array("d"))

    def chunks(self, count: int, now: float) -> None:
        if self.first is None:
            self.first = now
        else:
            self.gaps.append(now - self.last)
        self.gaps.extend([0.0] * (count - 1))
        self.last = now


@dataclass(frozen=True)
class Attempt:
    """An attempt that has ended."""

    outcome: Outcome
    answer: AnswerStream
    timing: Timing


class Observer(Protocol):
    """Told of chunks as they come."""

    def first_chunk(self, seconds: float) -> None:
        """A request's first token, so long after it began."""

    def chunks(self, count: int) -> None: ...


class Client:
    """Sends requests to one server; a context manager.

    Args:
        keep_alive: use connections again. Otherwise each attempt has its own, so that a balancer of connections
            (kube-proxy) spreads the requests.
    """

    def __init__(self, target: Target, *, keep_alive: bool = False) -> None:
        self.target = target
        self._url = target.url.with_path(target.url.path.rstrip("/") + "/v1/chat/completions")
        self._proxy = proxy_for(target.url)
        # No limit: a client that waits for a free connection isn't an open loop. No timeouts: attempts have their own.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=not keep_alive),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_headers(target.api_key),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def attempt(self, body: bytes, began: float, timeout: float, observer: Observer) -> Attempt:
        """Send a request and read the answer for up to ``timeout`` seconds."""
        answer, timing = AnswerStream(), Timing(began)
        try:
            async with asyncio.timeout(timeout):
                refusal = await self._ask(body, answer, timing, observer)
            outcome = refusal or self._judge(answer)
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            outcome = self._judge(answer)  # what the server said counts, and only then how the connection ended
            if outcome.reason == "truncated":
                outcome = of_failure(error)
        return Attempt(outcome, answer, timing)

    async def _ask(self, body: bytes, answer: AnswerStream, timing: Timing, observer: Observer) -> Outcome | None:
        """Fill ``answer``; returns an outcome only where there was no stream."""
        async with self._session.post(self._url, data=body, proxy=self._proxy, allow_redirects=False) as response:
            if response.status != 200:
                return of_refusal(response.status, await response.text(errors="replace"))
            if response.content_type != "text/event-stream":
                return dropped("not_a_stream", 200, f"the answer is {response.content_type}")
            async for data in response.content.iter_any():
                if count := answer.feed(data):
                    now = perf_counter()
                    if timing.first is None:
                        observer.first_chunk(now - timing.began)
                    timing.chunks(count, now)
                    observer.chunks(count)
        return None

    def _judge(self, answer: AnswerStream) -> Outcome:
        return of_answer(answer, self.target.output_tokens, exact=self.target.exact)


def _headers(api_key: str | None) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
    return headers | ({"Authorization": f"Bearer {api_key}"} if api_key else {})
