"""Pulling an image for a pod, with the logins that its pull secrets hold."""

from __future__ import annotations

import contextlib
from typing import Any

import aiohttp

from vllm_sandbox.images import access
from vllm_sandbox.images.registry import Image
from vllm_sandbox.kube import ApiError, Kube, path

Object = dict[str, Any]


async def pull(kube: Kube, pod: Object, image: str) -> Image:
    """The image; a pull secret that isn't there counts as none, as for a kubelet.

    Raises:
        PullError: the registry doesn't have it, or doesn't give it.
    """
    namespace, configs = pod["metadata"]["namespace"], []
    for ref in pod["spec"].get("imagePullSecrets", []):
        with contextlib.suppress(ApiError, aiohttp.ClientError, TimeoutError):
            configs.append(access.config_of(await kube.get(path("secrets", namespace, ref["name"]))))
    return access.pull(image, configs)
