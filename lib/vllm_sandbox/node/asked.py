"""The pod that a request to the agent is about."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from vllm_sandbox.node.pod import PodWorker

FindPod = Callable[[str, str], PodWorker | None]


def asked_pod(find_pod: FindPod, request: web.Request) -> PodWorker:
    """The pod that the path names.

    Raises:
        HTTPNotFound: there is none.
        HTTPServiceUnavailable: its kubelet is stopped.
    """
    names = request.match_info
    pod = find_pod(names["namespace"], names["pod"])
    if pod is None:
        raise web.HTTPNotFound(text=f'pod "{names["pod"]}" not found')
    if not pod.node.kubelet.is_set():
        raise web.HTTPServiceUnavailable(text=f"the kubelet of node {pod.node.name} is stopped")
    return pod
