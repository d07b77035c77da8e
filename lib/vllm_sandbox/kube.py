"""A small asyncio client of the Kubernetes API: plain dicts in, plain dicts out.

The sandbox's own controllers (node agent, volumes, cluster DNS) need list, watch and patch on one
event loop; the typed clients are slower to import than the whole control plane takes to start.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import yaml

log = logging.getLogger(__name__)

Object = dict[str, Any]

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"


class ApiError(Exception):
    """The API server refused a call.

    Attributes:
        code: HTTP status.
        reason: machine-readable reason of the Status object, e.g. ``NotFound``.
        message: the server's sentence.
    """

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message


def path(resource: str, namespace: str | None = None, name: str | None = None, sub: str = "") -> str:
    """Path of a resource: ``path("pods", "llm")``, ``path("apps/v1/deployments", "llm", "x")``.

    ``resource`` is a plural of the core group, or ``group/version/plural``.
    """
    *group, plural = resource.split("/")
    root = "/apis/" + "/".join(group) if group else "/api/v1"
    scope = f"/namespaces/{namespace}" if namespace else ""
    return "/".join(part for part in (f"{root}{scope}/{plural}", name, sub) if part)


class Kube:
    """A connection to one API server. Use as an async context manager."""

    def __init__(self, server: str, tls: ssl.SSLContext, token: str | Path) -> None:
        self._server = server.rstrip("/")
        self._tls = tls
        self._token = token
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def from_kubeconfig(cls, file: Path) -> Kube:
        """Read server address, CA and token (a pod's: the token's file) of the current context."""
        config = yaml.safe_load(file.read_text())
        context = next(c["context"] for c in config["contexts"] if c["name"] == config["current-context"])
        cluster = next(c["cluster"] for c in config["clusters"] if c["name"] == context["cluster"])
        user = next(u["user"] for u in config["users"] if u["name"] == context["user"])
        tls = ssl.create_default_context(cadata=_authority(cluster, file))
        return cls(cluster["server"], tls, user.get("token") or file.parent / user["tokenFile"])

    async def __aenter__(self) -> Kube:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls, limit=0),
            timeout=aiohttp.ClientTimeout(total=30),
            trust_env=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session
        await self._session.close()

    def _headers(self) -> dict[str, str]:
        """A token's file is read again for each request: it is renewed while a pod runs."""
        token = self._token if isinstance(self._token, str) else self._token.read_text().strip()
        return {"Authorization": f"Bearer {token}"}

    async def call(
        self,
        method: str,
        url: str,
        body: Any = None,
        content_type: str = "application/json",
        **params: Any,
    ) -> Object:
        """One request; raises ApiError for any answer but 2xx."""
        assert self._session
        query = {k: str(v) for k, v in params.items() if v is not None}
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": content_type, **self._headers()}
        async with self._session.request(
            method, self._server + url, data=data, params=query, headers=headers
        ) as answer:
            if answer.status >= 300:
                raise await _error(answer)
            found: Object = await answer.json(content_type=None)
            return found

    async def get(self, url: str, **params: Any) -> Object:
        return await self.call("GET", url, **params)

    async def create(self, url: str, body: Object, **params: Any) -> Object:
        return await self.call("POST", url, body, **params)

    async def patch(self, url: str, body: Any, kind: str = MERGE, **params: Any) -> Object:
        return await self.call("PATCH", url, body, kind, **params)

    async def apply(self, url: str, body: Object, manager: str = "sandbox") -> Object:
        """Server-side apply, taking over fields that others own."""
        return await self.call("PATCH", url, body, APPLY, fieldManager=manager, force="true")

    async def delete(self, url: str, body: Object | None = None, **params: Any) -> Object:
        return await self.call("DELETE", url, body, **params)

    async def watch(self, url: str, resource_version: str, **params: Any) -> AsyncIterator[tuple[str, Object]]:
        """Events ``(type, object)`` after ``resource_version`` until the server ends the watch."""
        assert self._session
        query = {"watch": "1", "resourceVersion": resource_version, "allowWatchBookmarks": "true"}
        query |= {k: str(v) for k, v in params.items() if v is not None}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        headers = self._headers()
        async with self._session.get(self._server + url, params=query, headers=headers, timeout=timeout) as answer:
            if answer.status >= 300:
                raise await _error(answer)
            buffer = b""
            async for chunk in answer.content.iter_any():  # lines may exceed aiohttp's line limit
                *lines, buffer = (buffer + chunk).split(b"\n")
                for line in lines:
                    if line:
                        event = json.loads(line)
                        yield event["type"], event["object"]

    async def follow(
        self,
        url: str,
        on_event: Callable[[str, Object], Awaitable[None] | None],
        synced: asyncio.Event | None = None,
        **params: Any,
    ) -> None:
        """List, then watch for ever: calls ``on_event("ADDED" | "MODIFIED" | "DELETED", object)``.

        After a lost watch it lists again and sends DELETED for what went meanwhile. Runs until
        cancelled. ``synced`` is set after the first list.
        """
        known: dict[str, Object] = {}

        async def emit(kind: str, item: Object) -> None:
            uid = item["metadata"]["uid"]
            if kind == "DELETED":
                known.pop(uid, None)
            else:
                kind = "MODIFIED" if uid in known else "ADDED"
                known[uid] = item
            result = on_event(kind, item)
            if result is not None:
                await result

        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                try:
                    listing = await self.get(url, **params)
                    alive = {item["metadata"]["uid"] for item in listing["items"]}
                    for uid in known.keys() - alive:
                        await emit("DELETED", known[uid])
                    for item in listing["items"]:
                        await emit("ADDED", item)
                    if synced:
                        synced.set()
                    version = listing["metadata"]["resourceVersion"]
                    while True:
                        async for kind, item in self.watch(url, version, **params):
                            if kind == "ERROR":
                                raise ApiError(item.get("code", 500), item.get("reason", ""), item.get("message", ""))
                            version = item["metadata"]["resourceVersion"]
                            if kind != "BOOKMARK":
                                await emit(kind, item)
                except ApiError as error:  # 410 Gone: the version is too old, list again
                    log.debug("watch of %s ended: %s", url, error)
            await asyncio.sleep(0.2)  # the server is away: there is nothing to watch until it is back


def _authority(cluster: Object, file: Path) -> str:
    """The certificate of a kubeconfig's cluster, given inline or as a path."""
    if inline := cluster.get("certificate-authority-data"):
        return base64.b64decode(inline).decode()
    named: str = cluster["certificate-authority"]
    return (file.parent / named).read_text()


async def _error(answer: aiohttp.ClientResponse) -> ApiError:
    text = await answer.text()
    try:
        status = json.loads(text)
        return ApiError(answer.status, status.get("reason", ""), status.get("message", text))
    except ValueError:
        return ApiError(answer.status, answer.reason or "", text)
