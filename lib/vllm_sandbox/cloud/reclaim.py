"""Spot instances that are taken back: a warning, what the cloud does with it, and the end of the machine."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

import aiohttp

from vllm_sandbox.cloud.drain import cordon, drain
from vllm_sandbox.cloud.rules import RECLAIM, Rules, parse
from vllm_sandbox.kube import ApiError, Kube, path
from vllm_sandbox.node.events import EventRecorder

log = logging.getLogger(__name__)

Object = dict[str, Any]
CLAIMS = "karpenter.sh/v1/nodeclaims"


class Machine(Protocol):
    """What the cloud can do with a node."""

    async def shut_down(self, ordinary_s: float, critical_s: float) -> None:
        """The kubelet's graceful node shutdown."""

    async def power_off(self) -> None:
        """Everything on it ends at once, and nobody is told."""


class Cloud:
    """Watches for orders and carries them out, each node by itself."""

    def __init__(self, kube: Kube, machines: Mapping[str, Machine]) -> None:
        self._kube = kube
        self._machines = machines
        self._events = EventRecorder(kube, "sandbox-cloud")
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._refused: set[tuple[str, str]] = set()
        self._nodes: dict[str, Object] = {}
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            await self._kube.follow(path("nodes"), self._node)
        finally:
            for task in self._under_way.values():
                task.cancel()

    def _node(self, kind: str, node: Object) -> None:
        name, uid = node["metadata"]["name"], node["metadata"]["uid"]
        if kind == "DELETED":
            self._nodes.pop(name, None)
        else:
            self._nodes[name] = node
        self._changed.set()
        order = node["metadata"].get("annotations", {}).get(RECLAIM)
        if kind == "DELETED" or not order or name not in self._machines or uid in self._under_way:
            return
        try:
            cloud, rules = parse(order)
        except ValueError as error:
            if (uid, order) not in self._refused:
                self._refused.add((uid, order))
                self._events(node, "Warning", "ReclaimRefused", f"{RECLAIM}: {error}")
            return
        self._under_way[uid] = asyncio.get_running_loop().create_task(self._reclaim(node, cloud, rules))

    async def _reclaim(self, node: Object, cloud: str, rules: Rules) -> None:
        name = node["metadata"]["name"]
        machine = self._machines[name]
        log.info("node %s is reclaimed: %s", name, rules)
        try:
            if rules.notice_s:
                words = f"Spot instance {name} ends in {rules.notice_s:g} s (simulated, by the rules of {cloud})"
                self._events(node, "Warning", "SpotInterruption", words)
                await self._warn(name, machine, rules)
        except Exception:
            log.exception("node %s: the cloud's warning failed; the machine ends all the same", name)
        await machine.power_off()
        self._events(node, "Warning", "InstanceGone", f"Instance {name} has ended (simulated)")
        if not rules.notice_s:
            await self._not_ready(name)
        with contextlib.suppress(ApiError, aiohttp.ClientError, OSError):
            # what the cloud's controller manager does with a node whose instance doesn't exist any more
            await self._kube.delete(path("nodes", name=name))

    async def _warn(self, name: str, machine: Machine, rules: Rules) -> None:
        """Everything until the machine ends; sooner when the Node is gone (drained, and given back by Karpenter)."""
        works = []
        if rules.drains:
            works.append(asyncio.create_task(self._drain(name, rules)))
        if rules.shutdown_s:
            works.append(asyncio.create_task(_shut_down(machine, rules)))
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rules.notice_s):
                    await self._until(lambda: name not in self._nodes)
        finally:
            for work in works:
                work.cancel()
            for ended in await asyncio.gather(*works, return_exceptions=True):
                if isinstance(ended, Exception):
                    log.warning("node %s: %s", name, ended)

    async def _drain(self, name: str, rules: Rules) -> None:
        if not rules.cordon_taint and (claim := await self._claim_of(name)):
            # as Karpenter's interruption controller does it on the cloud's message; Karpenter drains and terminates
            await self._kube.delete(path(CLAIMS, name=claim))
            return
        await cordon(self._kube, name, rules.cordon_taint)
        await drain(self._kube, name)

    async def _claim_of(self, node: str) -> str:
        try:
            claims = await self._kube.get(path(CLAIMS))
        except ApiError as error:
            if error.code == 404:  # no Karpenter here
                return ""
            raise
        found = (c["metadata"]["name"] for c in claims["items"] if c.get("status", {}).get("nodeName") == node)
        return next(found, "")

    async def _not_ready(self, name: str) -> None:
        """Until the node controller has noticed: before that no cloud controller asks after the instance."""

        def noticed() -> bool:
            conditions = self._nodes.get(name, {}).get("status", {}).get("conditions", ())
            return name not in self._nodes or any(c["type"] == "Ready" and c["status"] != "True" for c in conditions)

        await self._until(noticed)

    async def _until(self, reached: Any) -> None:
        while not reached():
            self._changed.clear()
            await self._changed.wait()


async def _shut_down(machine: Machine, rules: Rules) -> None:
    await asyncio.sleep(rules.notice_s - rules.shutdown_s)
    await machine.shut_down(rules.ordinary_s, rules.shutdown_s - rules.ordinary_s)


@contextlib.asynccontextmanager
async def running_cloud(kube: Kube, machines: Mapping[str, Machine]) -> AsyncIterator[None]:
    """Carry out reclaims as they are ordered.

    Args:
        machines: by node name; looked into at each order, so it may change.
    """
    task = asyncio.create_task(Cloud(kube, machines).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
