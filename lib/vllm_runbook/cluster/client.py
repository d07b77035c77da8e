"""One cluster: requests with plain dicts, errors with the server's own words.

Discovery and transport are the ``kubernetes`` package's (DynamicClient); answers stay dicts, because
objects of this library come from YAML and go back as they are.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import ResourceNotFoundError

from ..errors import RunbookError
from .collector import decoded
from .dry_run import DryClient, DryRunEnded
from .objects import API_VERSIONS, Object, Ref

#: Field manager of everything that this library applies.
MANAGER = "vllm-runbook"
PAGE = 500
#: Accept headers of an answer with whole objects, and of one with nothing but their metadata.
WHOLE = "application/json"
METADATA = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"


class ApiError(RunbookError):
    """The API server refused a request.

    Attributes:
        code: HTTP status.
        reason: the machine-readable reason, e.g. ``NotFound``.
        message: the server's sentence.
        causes: field errors or conflicts, as the server lists them.
    """

    def __init__(self, doing: str, code: int, status: Mapping[str, Any]) -> None:
        self.code = code
        self.reason = str(status.get("reason", ""))
        self.message = str(status.get("message", "")) or f"HTTP {code}"
        self.causes: list[dict[str, str]] = (status.get("details") or {}).get("causes") or []
        super().__init__(f"{doing}: refused ({code} {self.reason})".rstrip(), why=self.message, next_step=_hint(code))


class Cluster:
    """A connection.

    Attributes:
        context: how people call it.
        server: its address.
        kubeconfig: the file with the context; None for the cluster that we run in.
        api: the ``kubernetes`` package's transport, for its typed clients.
        pending: in a dry run, what would have been changed so far.
    """

    def __init__(self, api: client.ApiClient, context: str, kubeconfig: Path | None = None) -> None:
        self.context = context
        self.server: str = api.configuration.host
        self.kubeconfig = kubeconfig
        self.api = api
        self.pending: set[Ref] = set()
        # Discovery is cached in a file; the default is shared by name in /tmp and outlives clusters.
        self._cache = tempfile.TemporaryDirectory(prefix="vllm-runbook-")
        self._dynamic: DynamicClient | None = None

    @property
    def dry_run(self) -> bool:
        """Whether nothing may be changed."""
        return isinstance(self.api, DryClient)

    def require_nothing_pending(self, what: str) -> None:
        """In a dry run, go on only as long as everything is as it would be.

        Raises:
            DryRunEnded: ``what`` (what comes next, in words) needs objects that would have been changed.
        """
        if self.pending:
            raise DryRunEnded(f"{what} needs what would have been changed")

    @property
    def dynamic(self) -> DynamicClient:
        """The ``kubernetes`` package's client, for what isn't here."""
        if self._dynamic is None:
            self._dynamic = DynamicClient(self.api, cache_file=str(Path(self._cache.name) / "discovery.json"))
        return self._dynamic

    def path(self, kind: str, *, name: str = "", namespace: str = "", api_version: str = "") -> str:
        """URL path of an object or, without name, of a list.

        Raises:
            RunbookError: the server doesn't serve the kind (its CRD isn't installed).
        """
        version = api_version or API_VERSIONS[kind]
        try:
            resource = self.dynamic.resources.get(api_version=version, kind=kind)
        except ResourceNotFoundError as error:
            raise RunbookError(
                f"{self.context} has no {kind} ({version})",
                why="the API server doesn't list it: its CustomResourceDefinition isn't installed",
            ) from error
        path: str = resource.path(name=name or None, namespace=namespace or None if resource.namespaced else None)
        return path

    def namespaced(self, kind: str) -> bool:
        """Whether objects of the kind live in namespaces."""
        return bool(self.dynamic.resources.get(api_version=API_VERSIONS[kind], kind=kind).namespaced)

    def serves(self, kind: str, api_version: str = "") -> bool:
        """Whether the API server knows the kind."""
        try:
            self.path(kind, api_version=api_version)
        except RunbookError:
            return False
        return True

    def find(self, ref: Ref) -> Object | None:
        """An object as it is now, or None."""
        try:
            return self.get(ref)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    def get(self, ref: Ref) -> Object:
        """An object as it is now.

        Raises:
            ApiError: it isn't there, or may not be read.
        """
        path = self.path(ref.kind, name=ref.name, namespace=ref.namespace, api_version=ref.version)
        return self.json("GET", path, doing=f"Reading {ref}")

    def list(
        self,
        kind: str,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        api_version: str = "",
        metadata_only: bool = False,
        cached: bool = False,
    ) -> Iterator[Object]:
        """Objects of a kind, in pages of 500. Read tens of thousands of them within :func:`.collector_waits`.

        Args:
            labels, fields: selectors; the server evaluates them.
            metadata_only: PartialObjectMetadata: neither spec nor status, about half of a pod's bytes.
            cached: from the API server's watch cache, which may lag a moment and costs etcd nothing.
        """
        path = self.path(kind, namespace=namespace, api_version=api_version)
        query: dict[str, Any] = {"labelSelector": labels, "fieldSelector": fields}
        query |= {"resourceVersion": "0"} if cached else {"limit": PAGE}
        version = api_version or API_VERSIONS[kind]
        accept = METADATA.format("List") if metadata_only else WHOLE
        doing = f"Listing {kind} objects{' in ' + namespace if namespace else ''}"
        for page in self.pages(path, query, accept=accept, doing=doing):
            for item in page["items"] or ():  # some answers have null for none
                yield {**item, "apiVersion": version, "kind": kind}

    def pages(self, path: str, query: Mapping[str, Any], *, accept: str, doing: str) -> Iterator[Object]:
        """A list's answers, one for each page of the query's ``limit``; all have the same resource version."""
        more: str | None = None
        while True:
            page = self.json("GET", path, query={**query, "continue": more}, accept=accept, doing=doing)
            yield page
            more = page["metadata"].get("continue")
            if not more:
                return

    def apply(self, item: Object, *, manager: str = MANAGER, dry_run: bool = False, force: bool = False) -> Object:
        """Server-side apply; returns the object as the server has (or, dry, would have) it.

        Raises:
            ApiError: 409 when another manager owns a field that ``item`` changes (unless ``force``), 422 when
                the object isn't valid.
        """
        meta = item["metadata"]
        path = self.path(
            item["kind"], name=meta["name"], namespace=meta.get("namespace", ""), api_version=item["apiVersion"]
        )
        query = {"fieldManager": manager, "force": str(force).lower()} | ({"dryRun": "All"} if dry_run else {})
        doing = f"{'Previewing' if dry_run else 'Applying'} {item['kind']} {meta['name']}"
        return self.json("PATCH", path, query=query, body=item, content="application/apply-patch+yaml", doing=doing)

    def delete(
        self,
        ref: Ref,
        *,
        uid: str = "",
        propagation: str = "Background",
        grace_seconds: int | None = None,
        dry_run: bool = False,
    ) -> None:
        """Delete an object; one that isn't there is fine. With ``uid`` only that very one."""
        body = _delete_options(propagation, grace_seconds)
        if uid:
            body["preconditions"] = {"uid": uid}
        if dry_run:
            body["dryRun"] = ["All"]
        path = self.path(ref.kind, name=ref.name, namespace=ref.namespace, api_version=ref.version)
        try:
            self.json("DELETE", path, body=body, doing=f"Deleting {ref}")
        except ApiError as error:
            if error.code != 404:
                raise

    def delete_all(
        self, kind: str, namespace: str = "", *, labels: str, fields: str = "", grace_seconds: int | None = None
    ) -> None:
        """Delete what selectors find, in one request. Labels are a must: without any, everything would go."""
        query = {"labelSelector": labels, "fieldSelector": fields}
        path, body = self.path(kind, namespace=namespace), _delete_options("Background", grace_seconds)
        self.json("DELETE", path, query=query, body=body, doing=f"Deleting {kind} objects with {labels}")

    def json(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        content: str = "application/json",
        accept: str = "application/json",
        doing: str = "",
    ) -> Object:
        """One request whose answer is JSON."""
        response = self.raw(method, path, query=query, body=body, content=content, accept=accept, doing=doing)
        return dict(decoded(response.data))

    def raw(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        content: str = "application/json",
        accept: str = "application/json, */*",
        headers: Mapping[str, str] | None = None,
        doing: str = "",
        timeout: float | tuple[float, float | None] = 60,
    ) -> Any:
        """One request; returns urllib3's response, whose body is not read yet.

        Args:
            timeout: seconds for connecting and for each read, or a pair.

        Raises:
            ApiError: the answer's status is 400 or above.
        """
        request = self.api.param_serialize(
            method,
            path,
            query_params=[(key, value) for key, value in (query or {}).items() if value not in (None, "")],
            header_params={"Accept": accept, "Content-Type": content, **(headers or {})},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            response = self.api.call_api(*request, _request_timeout=timeout).response
        except ApiException as error:
            raise ApiError(doing or f"{method} {path}", int(error.status or 0), _status(error.body)) from None
        if response.status >= 400:
            raise ApiError(doing or f"{method} {path}", response.status, _status(response.data))
        return response


def _delete_options(propagation: str, grace_seconds: int | None) -> Object:
    options: Object = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
    return options if grace_seconds is None else options | {"gracePeriodSeconds": grace_seconds}


def _status(body: Any) -> dict[str, Any]:
    """The Status object of an error answer; of another text, its beginning."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body or "")
    try:
        status = json.loads(text)
    except ValueError:
        return {"message": text.strip()[:500]}
    return status if isinstance(status, dict) and "message" in status else {"message": text[:500]}


def _hint(code: int) -> str:
    return {
        401: "Log in again: the credentials of this context are not accepted.",
        403: "Ask whoever runs the cluster for this permission; notebook 00 lists all that are needed.",
    }.get(code, "")
