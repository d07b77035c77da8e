"""Events on pods and nodes, counted as the kubelet counts repeated ones."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import OrderedDict
from typing import Any

import aiohttp

from vllm_sandbox.kube import ApiError, Kube, path
from vllm_sandbox.node.clock import now

REMEMBERED = 4096  # repeated events beyond this many kinds start a new Event object


class EventRecorder:
    """Writes Events in the background; a repeated one raises the count of the first."""

    def __init__(self, kube: Kube, component: str = "kubelet") -> None:
        self._kube = kube
        self._component = component
        self._seen: OrderedDict[tuple[str, str, str], tuple[str, int]] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._order = asyncio.Lock()

    def __call__(
        self, obj: dict[str, Any], kind: str, reason: str, message: str, host: str = "", container: str = ""
    ) -> None:
        """Record ``reason`` on ``obj``; ``kind`` is Normal or Warning."""
        task = asyncio.get_running_loop().create_task(self._write(obj, kind, reason, message, host, container))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _write(
        self, obj: dict[str, Any], kind: str, reason: str, message: str, host: str, container: str
    ) -> None:
        meta = obj["metadata"]
        key = (meta["uid"], reason, container + message)
        namespace = meta.get("namespace", "default")
        # an event is information: losing one must never stop a pod
        with contextlib.suppress(ApiError, aiohttp.ClientError, TimeoutError, OSError):
            async with self._order:
                name, count = self._seen.pop(key, (f"{meta['name']}.{secrets.token_hex(8)}", 0))
                self._seen[key] = (name, count + 1)
                if len(self._seen) > REMEMBERED:
                    self._seen.popitem(last=False)
                if count:
                    change = {"count": count + 1, "lastTimestamp": now()}
                    await self._kube.patch(path("events", namespace, name), change)
                else:
                    body = self._event(obj, name, kind, reason, message, host, container)
                    await self._kube.create(path("events", namespace), body)

    def _event(
        self, obj: dict[str, Any], name: str, kind: str, reason: str, message: str, host: str, container: str
    ) -> dict[str, Any]:
        meta = obj["metadata"]
        involved = {
            "apiVersion": obj.get("apiVersion", "v1"),
            "kind": obj.get("kind", "Pod"),
            "name": meta["name"],
            "uid": meta["uid"],
        }
        if "namespace" in meta:
            involved["namespace"] = meta["namespace"]
        if container:
            involved["fieldPath"] = f"spec.containers{{{container}}}"
        return {
            "metadata": {"name": name, "namespace": meta.get("namespace", "default")},
            "involvedObject": involved,
            "type": kind,
            "reason": reason,
            "message": message[:1024],
            "source": {"component": self._component, "host": host},
            "reportingComponent": self._component,
            "reportingInstance": host,
            "firstTimestamp": now(),
            "lastTimestamp": now(),
            "count": 1,
        }
