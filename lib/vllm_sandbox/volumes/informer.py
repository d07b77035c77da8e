"""A local copy of one kind of object, kept up to date by a watch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from vllm_sandbox.kube import Kube, Object, path


def key_of(item: Object) -> str:
    """``namespace/name``, or ``name`` for what has no namespace."""
    meta = item["metadata"]
    return f"{meta['namespace']}/{meta['name']}" if "namespace" in meta else str(meta["name"])


class Informer:
    """Objects of one resource by key; tells handlers the key of each that changed or went.

    Items of a list carry no kind, so it is added from ``kind``.
    """

    def __init__(self, kube: Kube, resource: str, kind: str) -> None:
        self._kube = kube
        self._url = path(resource)
        self._kind = kind
        self._items: dict[str, Object] = {}
        self._handlers: list[Callable[[str], None]] = []
        self.synced = asyncio.Event()

    def on_change(self, handler: Callable[[str], None]) -> None:
        """Call ``handler(key)`` after each change; register before `run`."""
        self._handlers.append(handler)

    def get(self, key: str) -> Object | None:
        return self._items.get(key)

    def __iter__(self) -> Iterator[Object]:
        return iter(tuple(self._items.values()))

    async def run(self) -> None:
        """Follow the resource until cancelled."""
        await self._kube.follow(self._url, self._changed, self.synced)

    def _changed(self, event: str, item: Object) -> None:
        key = key_of(item)
        if event != "DELETED":
            self._items[key] = {**item, "kind": self._kind}
        elif self._items.get(key, item)["metadata"]["uid"] == item["metadata"]["uid"]:
            self._items.pop(key, None)  # a successor of the same name stays
        for handler in self._handlers:
            handler(key)
