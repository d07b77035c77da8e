"""One at a time: a Lease (coordination.k8s.io) that whoever changes the cluster holds meanwhile.

All times are the API server's (the ``Date`` of its answers), so that the clocks of two machines needn't agree. A holder
that was killed renews no more; the next one takes its Lease over when it has expired. A Lease that is given back is
deleted: nothing is left behind.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import urllib3

from ..errors import RunbookError
from .client import ApiError, Cluster
from .objects import Object, Ref, get_in
from .ownership import marked
from .stream import Selection
from .waiting import State, TimedOut, wait

NAME = "vllm-runbook"
#: Seconds without renewal after which a Lease may be taken over; it is renewed three times as often.
DURATION = 30.0
_KIND = "Lease"


class Held(RunbookError):
    """Somebody else holds the Lease.

    Attributes:
        holder: who.
    """

    def __init__(self, ref: Ref, item: Object, context: str) -> None:
        self.holder = str(get_in(item, "spec.holderIdentity", ""))
        since, renewed = (get_in(item, f"spec.{name}", "?") for name in ("acquireTime", "renewTime"))
        super().__init__(
            f"{self.holder} is at work on {context}",
            why=f"it holds {ref} since {since}, renewed at {renewed} for {get_in(item, 'spec.leaseDurationSeconds')} s",
            next_step="Wait for it (--wait SECONDS). If it was killed, its Lease expires by itself.",
        )


def identity() -> str:
    """A name for this process: host (in a pod, the pod's name), process id, and something of its own."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


def holder_of(cluster: Cluster, namespace: str) -> Held | None:
    """Who holds the Lease now, as an error that can be raised; None when nobody does."""
    now, item = _look(cluster, Ref(_KIND, NAME, namespace))
    if item is None or _expires(item) <= now:
        return None
    return Held(Ref(_KIND, NAME, namespace), item, cluster.context)


def await_free(cluster: Cluster, namespace: str, patience: float) -> None:
    """Wait until nobody holds the Lease, without taking it.

    Raises:
        Held: somebody still does after ``patience`` seconds.
    """
    ref, deadline = Ref(_KIND, NAME, namespace), time.monotonic() + patience
    while True:
        now, item = _look(cluster, ref)
        if item is None or _expires(item) <= now:
            return
        _await_change(cluster, ref, item, (_expires(item) - now).total_seconds(), deadline)


def _await_change(cluster: Cluster, ref: Ref, item: Object, left: float, deadline: float) -> None:
    """Watch until the Lease is renewed, given back or expired, whichever is first.

    Raises:
        Held: the deadline is over.
    """
    patience = deadline - time.monotonic()
    if patience <= 0:
        raise Held(ref, item, cluster.context)
    version = item["metadata"]["resourceVersion"]

    def moved(state: State) -> bool:
        now = state.only(_KIND)
        return now is None or now["metadata"]["resourceVersion"] != version

    try:
        wait(cluster, f"{ref} is free", [Selection.of(ref)], moved, seconds=min(patience, left))
    except TimedOut:
        return  # it may have expired: the caller looks again


class Lease:
    """The Lease of one namespace, in the name of one holder.

    Args:
        lost: called (in a thread of the Lease) with the reason when it could not be kept.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        holder: str,
        step: str,
        *,
        lost: Callable[[str], None],
        seconds: float = DURATION,
    ) -> None:
        self.cluster, self.holder, self.step, self.seconds = cluster, holder, step, seconds
        self.ref = Ref(_KIND, NAME, namespace)
        self._lost = lost
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self, patience: float = 0) -> str:
        """Take it and keep it renewed; returns who let it expire, if somebody did.

        Args:
            patience: seconds to wait while somebody else holds it.

        Raises:
            Held: somebody still does.
            ApiError: it may not be created or updated.
        """
        deadline = time.monotonic() + patience
        while True:
            before = self._try(deadline)
            if before is not None:
                break
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()
        return before

    def _try(self, deadline: float) -> str | None:
        """One attempt: the former holder's name (or nothing) when it is ours now, None to try again."""
        now, item = _look(self.cluster, self.ref)
        if item is not None and (left := (_expires(item) - now).total_seconds()) > 0:
            _await_change(self.cluster, self.ref, item, left, deadline)
            return None
        try:
            if item is None:
                self._write("POST", marked(self._object(now, now), self.step))
                return ""
            spec = self._object(now, now)["spec"]
            spec["leaseTransitions"] = int(get_in(item, "spec.leaseTransitions", 0)) + 1
            self._write("PUT", {**item, "spec": spec})  # with its resourceVersion: of two, one gets it
            return str(get_in(item, "spec.holderIdentity", ""))
        except ApiError as error:
            if error.code == 409 or (error.code == 404 and item is not None):
                return None
            raise

    def release(self) -> None:
        """Stop renewing, and delete it if it is still ours."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        _, item = _look(self.cluster, self.ref)
        if item is not None and get_in(item, "spec.holderIdentity") == self.holder:
            self.cluster.delete(self.ref, uid=item["metadata"]["uid"])

    def _keep(self) -> None:
        renewed = time.monotonic()
        while not self._stop.wait(self.seconds / 3):
            try:
                if not self._renew():
                    return
                renewed = time.monotonic()
            except RunbookError as error:
                if not isinstance(error, ApiError):
                    return self._lost(error.what)
                reason = error.message
            except (urllib3.exceptions.HTTPError, OSError) as error:
                reason = str(error)
            if time.monotonic() - renewed > self.seconds:
                return self._lost(f"{self.ref} could not be renewed for {self.seconds:g} s: {reason}")

    def _renew(self) -> bool:
        """Renew once; False when its namespace goes away, and the Lease with it.

        Raises:
            RunbookError: somebody else has it.
        """
        now, item = _look(self.cluster, self.ref)
        try:
            if item is None:
                self._write("POST", marked(self._object(now, now), self.step))
            elif (holder := get_in(item, "spec.holderIdentity")) != self.holder:
                raise RunbookError(f"{self.ref} was taken over by {holder}")
            else:
                acquired = datetime.fromisoformat(item["spec"]["acquireTime"])
                self._write("PUT", {**item, "spec": {**item["spec"], **self._object(acquired, now)["spec"]}})
        except ApiError as error:
            if error.code == 404 or _ends(error):
                return False
            raise
        return True

    def _object(self, acquired: datetime, renewed: datetime) -> Object:
        return {
            "apiVersion": self.ref.version,
            "kind": _KIND,
            "metadata": {"name": self.ref.name, "namespace": self.ref.namespace},
            "spec": {
                "holderIdentity": self.holder,
                "leaseDurationSeconds": max(1, round(self.seconds)),
                "acquireTime": _stamp(acquired),
                "renewTime": _stamp(renewed),
            },
        }

    def _write(self, method: str, item: Object) -> None:
        name = "" if method == "POST" else self.ref.name
        path = self.cluster.path(_KIND, name=name, namespace=self.ref.namespace)
        self.cluster.json(method, path, body=item, doing=f"Taking {self.ref}")


def _look(cluster: Cluster, ref: Ref) -> tuple[datetime, Object | None]:
    """The API server's time, and the Lease if it is there."""
    path = cluster.path(_KIND, name=ref.name, namespace=ref.namespace)
    try:
        response = cluster.raw("GET", path, doing=f"Reading {ref}")
    except ApiError as error:
        if error.code != 404:
            raise
        return _date(cluster.raw("GET", "/version", doing="Asking for the time")), None
    return _date(response), json.loads(response.data)


def _date(response: Any) -> datetime:
    return parsedate_to_datetime(response.headers["Date"]).astimezone(UTC)


def _expires(item: Object) -> datetime:
    """When it may be taken over; long ago where it has no holder."""
    renewed, seconds = get_in(item, "spec.renewTime"), get_in(item, "spec.leaseDurationSeconds", 0)
    if not renewed or not get_in(item, "spec.holderIdentity"):
        return datetime.min.replace(tzinfo=UTC)
    return datetime.fromisoformat(renewed) + timedelta(seconds=float(seconds))


def _stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _ends(error: ApiError) -> bool:
    """Whether the namespace is being deleted: nothing can be created in it then."""
    return error.code == 403 and any(cause.get("reason") == "NamespaceTerminating" for cause in error.causes)
