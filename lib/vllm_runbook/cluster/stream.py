"""Several watches and logs as one stream of events, up to a deadline.

Each source has a thread that reads a connection and puts what comes into one queue; whoever waits reads
the queue. Nothing polls, and leaving the block ends the connections.
"""

from __future__ import annotations

import contextlib
import json
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import urllib3

from .client import METADATA, PAGE, WHOLE, ApiError, Cluster
from .collector import collector_waits
from .objects import API_VERSIONS, Object, Ref

#: Called about once a second while nothing comes, on the thread that waits: live figures draw what they left out.
IDLE: set[Callable[[], None]] = set()
#: The API server ends a watch after this many seconds; it is then continued where it stopped.
_WATCH_SECONDS = 290
#: Patience with the beginning of an answer. A log of which there is no line yet doesn't begin (the kubelet sends its
#: headers with the first line), so it is asked for again and again: whoever has stopped waiting meanwhile is noticed.
_BEGIN_SECONDS = 10


@dataclass(frozen=True)
class Selection:
    """What to watch: a kind, in a namespace, by selectors, whole or its metadata only."""

    kind: str
    namespace: str = ""
    labels: str = ""
    fields: str = ""
    api_version: str = ""
    metadata_only: bool = False

    @classmethod
    def of(cls, ref: Ref) -> Selection:
        """Just one object."""
        return cls(ref.kind, ref.namespace, fields=f"metadata.name={ref.name}", api_version=ref.version)


@dataclass(frozen=True)
class Seen:
    """One event.

    Attributes:
        type: ADDED, MODIFIED, DELETED; SYNCED after the first list of a selection; LINE for a line of a log.
        object: the object as it is (was, when deleted); empty for SYNCED and LINE.
        line: text of a log line.
        at: when it arrived here.
    """

    type: str
    selection: Selection | None
    object: Object
    line: str = ""
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


class Events:
    """The stream. Use :func:`watching` to make one."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._queue: queue.SimpleQueue[Seen | BaseException] = queue.SimpleQueue()
        self._responses: dict[int, Any] = {}
        self._stop = threading.Event()

    def until(self, deadline: float) -> Iterator[Seen]:
        """Events as they come; ends when ``time.monotonic()`` reaches ``deadline``.

        Raises:
            ApiError: a watch was refused.
        """
        while (left := deadline - time.monotonic()) > 0:
            try:
                # Short enough for Ctrl-C to be noticed on every platform.
                event = self._queue.get(timeout=min(left, 1.0))
            except queue.Empty:
                for listener in tuple(IDLE):
                    listener()
                continue
            if isinstance(event, BaseException):
                raise event
            yield event

    @property
    def backlog(self) -> bool:
        """Whether more events are here already."""
        return not self._queue.empty()

    def watch(self, selection: Selection) -> None:
        """Add a watch."""
        self._start(lambda: self._follow(selection))

    def follow_log(self, namespace: str, pod: str, container: str = "") -> None:
        """Add the log of a running container; its lines come as LINE events."""
        self._start(lambda: self._read_log(namespace, pod, container))

    def wake(self) -> None:
        """Let whoever waits judge again: something that no watch shows has changed."""
        self._put("LINE", None)

    def close(self) -> None:
        """End all connections."""
        self._stop.set()
        for response in list(self._responses.values()):
            with contextlib.suppress(Exception):
                response.shutdown()

    def _start(self, run: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                run()
            except BaseException as error:
                if not self._stop.is_set():
                    self._queue.put(error)

        threading.Thread(target=guarded, daemon=True, name="vllm-runbook-watch").start()

    def _put(self, kind: str, selection: Selection | None, item: Object | None = None, line: str = "") -> None:
        self._queue.put(Seen(kind, selection, item or {}, line))

    def _follow(self, selection: Selection) -> None:
        version, known = self._list(selection, {})
        self._put("SYNCED", selection)
        while not self._stop.is_set():
            try:
                version = self._watch(selection, version, known)
            except ApiError as error:
                if error.code != 410:
                    raise
                version, known = self._list(selection, known)

    @collector_waits()
    def _list(self, selection: Selection, known: dict[str, Object]) -> tuple[str, dict[str, Object]]:
        """List, and tell what changed against what was known."""
        doing = f"Listing {selection.kind} objects"
        accept = METADATA.format("List") if selection.metadata_only else WHOLE
        query = _query(selection) | {"limit": PAGE}
        found: dict[str, Object] = {}
        for page in self._cluster.pages(self._path(selection), query, accept=accept, doing=doing):
            found |= {item["metadata"]["uid"]: _typed(item, selection) for item in page["items"] or ()}
        for uid, item in found.items():
            self._put("MODIFIED" if uid in known else "ADDED", selection, item)
        for uid in known.keys() - found.keys():
            self._put("DELETED", selection, known[uid])
        return page["metadata"]["resourceVersion"], found

    def _watch(self, selection: Selection, version: str, known: dict[str, Object]) -> str:
        """One watch request to its end; returns the version to go on from."""
        query = _query(selection) | {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": _WATCH_SECONDS,
        }
        accept = METADATA.format("") if selection.metadata_only else WHOLE
        for line in self._lines(self._path(selection), query, _WATCH_SECONDS + 30, accept):
            event = json.loads(line)
            item = event["object"]
            if event["type"] == "ERROR":
                raise ApiError(f"Watching {selection.kind} objects", int(item.get("code", 0)), item)
            version = item["metadata"]["resourceVersion"]
            if event["type"] == "BOOKMARK":
                continue
            item = _typed(item, selection)
            if event["type"] == "DELETED":
                known.pop(item["metadata"]["uid"], None)
            else:
                known[item["metadata"]["uid"]] = item
            self._put(event["type"], selection, item)
        return version

    def _read_log(self, namespace: str, pod: str, container: str) -> None:
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        # A pod that goes away takes its log with it; whoever waits learns of that from the pod's own watch.
        with contextlib.suppress(ApiError):
            while not self._stop.is_set():
                try:
                    for line in self._lines(path, {"follow": "true", "container": container}, None):
                        self._put("LINE", None, line=line)
                    return
                except urllib3.exceptions.MaxRetryError:
                    continue  # it hasn't begun

    def _lines(
        self, path: str, query: dict[str, Any], read_timeout: float | None, accept: str = "application/json, */*"
    ) -> Iterator[str]:
        timeout = (10, read_timeout or _BEGIN_SECONDS)
        response = self._cluster.raw("GET", path, query=query, accept=accept, timeout=timeout)
        self._responses[id(response)] = response
        if read_timeout is None:
            response.connection.sock.settimeout(None)
        try:
            if self._stop.is_set():
                return
            yield from split_lines(response.stream(2**16, decode_content=True))
        except (urllib3.exceptions.ProtocolError, urllib3.exceptions.ReadTimeoutError):
            return  # cut on the way: the caller goes on from the last version
        finally:
            self._responses.pop(id(response), None)
            response.close()

    def _path(self, selection: Selection) -> str:
        return self._cluster.path(selection.kind, namespace=selection.namespace, api_version=selection.api_version)


@contextlib.contextmanager
def watching(cluster: Cluster, *selections: Selection) -> Iterator[Events]:
    """Watch selections while the block runs, reading them with :meth:`Events.until`.

    Raises:
        DryRunEnded: in a dry run there is nothing to wait for once something would have been changed.
    """
    cluster.require_nothing_pending("What is watched next")
    events = Events(cluster)
    try:
        for selection in selections:
            events.watch(selection)
        yield events
    finally:
        events.close()


def _query(selection: Selection) -> dict[str, Any]:
    return {"labelSelector": selection.labels, "fieldSelector": selection.fields}


def _typed(item: Object, selection: Selection) -> Object:
    """Items of lists come without kind and version."""
    version = selection.api_version or API_VERSIONS[selection.kind]
    return {**item, "kind": selection.kind, "apiVersion": version}


def split_lines(chunks: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")
