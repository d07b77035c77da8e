"""The images that the sandbox knows, for each test anew."""

from __future__ import annotations

import pytest

from vllm_sandbox.images import registry
from vllm_sandbox.images.catalogue import register_all


@pytest.fixture(autouse=True)
def known():
    before = dict(registry._IMAGES)
    register_all()
    yield
    registry._IMAGES.clear()
    registry._IMAGES.update(before)
