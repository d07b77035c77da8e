"""Add and drop one finalizer without touching those of others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from vllm_sandbox.kube import STRATEGIC, ApiError, Kube


@contextlib.contextmanager
def absent_is_fine() -> Iterator[None]:
    """Ignore that the object of a call is gone."""
    try:
        yield
    except ApiError as error:
        if error.code != 404:
            raise


async def add_finalizer(kube: Kube, url: str, name: str) -> None:
    """Finalizers are a list merged by value, so two controllers may add theirs at the same time."""
    await kube.patch(url, {"metadata": {"finalizers": [name]}}, STRATEGIC)


async def drop_finalizer(kube: Kube, url: str, name: str) -> None:
    """Does nothing if the object is gone."""
    with absent_is_fine():
        await kube.patch(url, {"metadata": {"$deleteFromPrimitiveList/finalizers": [name]}}, STRATEGIC)
