"""Cordon and drain, as node termination handlers do it: by the eviction API, until the pods are gone or time is up."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

import aiohttp

from vllm_sandbox.kube import STRATEGIC, ApiError, Kube, path

log = logging.getLogger(__name__)

Object = dict[str, Any]
#: What kubectl waits, too, before it asks again for an eviction that a budget refused.
RETRY_S = 5.0


async def cordon(kube: Kube, node: str, taint: str = "") -> None:
    """Let no new pod onto the node."""
    spec: Object = {"unschedulable": True}
    if taint:
        spec["taints"] = [{"key": taint, "effect": "NoSchedule"}]
    await kube.patch(path("nodes", name=node), {"spec": spec}, STRATEGIC)


async def drain(kube: Kube, node: str) -> None:
    """Evict every pod that isn't a DaemonSet's; returns when all of them are gone."""
    gone: dict[str, asyncio.Event] = {}
    listed = asyncio.Event()

    def seen(kind: str, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        if kind == "DELETED" or pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            gone.setdefault(uid, asyncio.Event()).set()

    watch = asyncio.create_task(kube.follow(path("pods"), seen, listed, fieldSelector=f"spec.nodeName={node}"))
    try:
        await listed.wait()
        listing = await kube.get(path("pods"), fieldSelector=f"spec.nodeName={node}")
        pods = [pod for pod in listing["items"] if _to_evict(pod)]
        await asyncio.gather(*(_evict(kube, pod, gone) for pod in pods))
    finally:
        watch.cancel()


def _to_evict(pod: Object) -> bool:
    owners = pod["metadata"].get("ownerReferences", ())
    return not any(owner["kind"] in ("DaemonSet", "Node") for owner in owners)


async def _evict(kube: Kube, pod: Object, gone: dict[str, asyncio.Event]) -> None:
    """Ask until the budget allows it, then wait until the pod has gone."""
    meta = pod["metadata"]
    name = {"name": meta["name"], "namespace": meta["namespace"]}
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": name}
    end = gone.setdefault(meta["uid"], asyncio.Event())
    while not end.is_set():
        try:
            await kube.create(path("pods", meta["namespace"], meta["name"], "eviction"), eviction)
            break
        except ApiError as error:
            if error.code == 404:
                return
            log.info("eviction of %s/%s: %s", meta["namespace"], meta["name"], error.message)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.info("eviction of %s/%s: %s", meta["namespace"], meta["name"], error)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RETRY_S):
                await end.wait()
    await end.wait()
