"""The hub's HTTP API, as far as huggingface_hub uses it to read models."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from vllm_sandbox.hub import api
from vllm_sandbox.hub.access import (
    DEFAULT_TOKENS,
    Account,
    HubError,
    authenticate,
    check_gate,
    repository_not_found,
)
from vllm_sandbox.hub.delivery import send
from vllm_sandbox.hub.faults import Delay, FaultBoard, Status
from vllm_sandbox.hub.models import CATALOGUE, RENAMED, ModelSpec
from vllm_sandbox.hub.repository import DigestCache, Snapshot, commit_of, snapshot

access_log = logging.getLogger("vllm_sandbox.hub.access")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_REPO = "{repo:[^/]+/[^/]+}"


@dataclass(frozen=True)
class HubSettings:
    """How the stand-in behaves.

    Attributes:
        cache_dir: where digests are kept between runs.
        tokens: token -> its owner.
        catalogue: repository id -> model.
        bytes_per_second: limit of each connection; None for none.
        page_size: entries per page of a file listing (the real hub's: 1000, 50 with ``expand``).
    """

    cache_dir: Path
    tokens: dict[str, Account] = field(default_factory=lambda: dict(DEFAULT_TOKENS))
    catalogue: dict[str, ModelSpec] = field(default_factory=lambda: dict(CATALOGUE))
    bytes_per_second: float | None = None
    page_size: int = 1000


class HubApp:
    """The application with its state: snapshots made so far and the faults in force."""

    def __init__(self, settings: HubSettings) -> None:
        self.settings = settings
        self.faults = FaultBoard()
        self._digests = DigestCache(settings.cache_dir)
        self._snapshots: dict[tuple[str, int], asyncio.Future[Snapshot]] = {}

    def application(self) -> web.Application:
        """A new aiohttp application that serves this hub."""
        app = web.Application(middlewares=[self._middleware])
        model = f"/api/models/{_REPO}"
        routes: list[tuple[str, str, Handler]] = [
            ("GET", "/api/whoami-v2", self._whoami),
            ("GET", model, self._model_info),
            ("GET", model + "/revision/{revision}", self._model_info),
            ("GET", model + "/tree/{revision}", self._tree),
            ("GET", model + "/tree/{revision}/{path:.+}", self._tree),
            ("POST", model + "/paths-info/{revision}", self._paths_info),
            ("GET", model + "/refs", self._refs),
            ("GET", model + "/auth-check", self._auth_check),
            ("*", "/_sandbox/faults", self._faults),
        ]
        for method, path, handler in routes:
            app.router.add_route(method, path, handler)
        app.router.add_get(f"/{_REPO}/resolve/{{revision}}/{{file:.+}}", self._file, allow_head=True)
        return app

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        response: web.StreamResponse | None = None
        try:
            response = await self._guarded(request, handler)
        except HubError as error:
            response = _error_response(error)
        finally:
            access_log.info(
                "%s %s -> %s range=%s token=%s",
                request.method,
                request.path_qs,
                "client left" if response is None else response.status,
                request.headers.get("Range", "-"),
                "yes" if "Authorization" in request.headers else "no",
            )
        return response

    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/_sandbox/"):
            return await handler(request)
        repo, file = request.match_info.get("repo", ""), request.match_info.get("file")
        if new := RENAMED.get(repo):
            location = request.path_qs.replace(repo, new, 1)
            return web.Response(status=307, headers={"Location": location})
        for fault in self.faults.before_answer(repo, file):
            match fault:
                case Delay():
                    await asyncio.sleep(fault.seconds)
                case Status():
                    wait = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
                    raise HubError(fault.status, f"Sandbox fault: status {fault.status}", headers=wait)
        try:
            return await handler(request)
        except web.HTTPNotFound as error:
            raise self._no_such_address(request) from error

    def _no_such_address(self, request: web.Request) -> HubError:
        """Model ids without an organisation and unknown addresses: nothing of that kind is here."""
        if request.path.startswith("/api/models/") or "/resolve/" in request.path:
            return repository_not_found(self._account(request))
        return HubError(404, "Sorry, we can't find the page you are looking for.")

    def _account(self, request: web.Request) -> Account | None:
        return authenticate(request.headers.get("Authorization"), self.settings.tokens)

    def _spec(self, request: web.Request) -> tuple[ModelSpec, Account | None]:
        account = self._account(request)
        spec = self.settings.catalogue.get(request.match_info["repo"])
        if spec is None:
            raise repository_not_found(account)
        return spec, account

    async def _snapshot(self, request: web.Request, spec: ModelSpec) -> Snapshot:
        revision = request.match_info.get("revision", "main")
        for name, seed in spec.revisions.items():
            if revision in (name, commit_of(spec, seed)):
                break
        else:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        key = (spec.repo_id, seed)
        if key not in self._snapshots:
            work = asyncio.to_thread(snapshot, spec, seed, self._digests)
            self._snapshots[key] = asyncio.ensure_future(work)
        try:
            return await asyncio.shield(self._snapshots[key])
        except OSError:
            self._snapshots.pop(key, None)  # the cache directory's disk: the next request may have more luck
            raise

    async def _whoami(self, request: web.Request) -> web.Response:
        account = self._account(request)
        if account is None:
            raise HubError(401, "Invalid username or password.")
        return web.json_response(api.whoami(account))

    async def _model_info(self, request: web.Request) -> web.Response:
        spec, _ = self._spec(request)
        found = await self._snapshot(request, spec)
        blobs = request.query.get("blobs", "").lower() in ("1", "true")
        return web.json_response(api.model_info(found, blobs=blobs))

    async def _tree(self, request: web.Request) -> web.Response:
        spec, _ = self._spec(request)
        return api.tree(request, await self._snapshot(request, spec), self.settings.page_size)

    async def _paths_info(self, request: web.Request) -> web.Response:
        spec, _ = self._spec(request)
        return await api.paths_info(request, await self._snapshot(request, spec))

    async def _refs(self, request: web.Request) -> web.Response:
        spec, _ = self._spec(request)
        return web.json_response(api.refs(spec))

    async def _auth_check(self, request: web.Request) -> web.Response:
        spec, account = self._spec(request)
        check_gate(spec, account, f"{api.origin(request)}/{spec.repo_id}")
        return web.Response(text="OK")

    async def _file(self, request: web.Request) -> web.StreamResponse:
        spec, account = self._spec(request)
        check_gate(spec, account, f"{api.origin(request)}/{spec.repo_id}")
        found = await self._snapshot(request, spec)
        file = found.files.get(request.match_info["file"])
        if file is None:
            headers = {"X-Repo-Commit": found.commit}
            raise HubError(404, "Entry not found", "EntryNotFound", headers)
        return await send(request, found, file, self.faults, self.settings.bytes_per_second)

    async def _faults(self, request: web.Request) -> web.Response:
        """GET lists, POST adds one, DELETE clears."""
        if request.method == "POST":
            try:
                return web.json_response(self.faults.add(json.loads(await request.text())), status=201)
            except ValidationError as error:
                details = error.errors(include_url=False, include_input=False, include_context=False)
                return web.json_response({"error": "not a fault", "details": details}, status=422)
            except ValueError as error:
                return web.json_response({"error": f"not JSON: {error}"}, status=400)
        if request.method == "DELETE":
            self.faults.clear()
        elif request.method != "GET":
            raise HubError(405, "GET, POST or DELETE")
        return web.json_response(self.faults.ordered())


def _error_response(error: HubError) -> web.Response:
    headers: dict[str, Any] = {"X-Error-Message": error.message, **error.headers}
    if error.code is not None:
        headers["X-Error-Code"] = error.code
    return web.json_response({"error": error.message}, status=error.status, headers=headers)
