"""The sandbox's StorageClasses and CSIDrivers, applied when it starts."""

from __future__ import annotations

from importlib import resources

import yaml

from vllm_sandbox.kube import Kube, Object, path
from vllm_sandbox.volumes.names import CLASSES, DRIVERS, SANDBOX_SCALE

SCALE_ANNOTATION = "sandbox.vllm-runbook.dev/scale"
DEFAULT_CLASS = "shared-fs"


def load() -> list[Object]:
    """The objects of classes.yaml; each class also says at which scale its capacity is enforced."""
    text = resources.files("vllm_sandbox.volumes").joinpath("classes.yaml").read_text()
    objects: list[Object] = list(yaml.safe_load_all(text))
    for item in objects:
        if item["kind"] == "StorageClass":
            notes = item["metadata"]["annotations"]
            notes[SCALE_ANNOTATION] = str(SANDBOX_SCALE)
            notes["kubernetes.io/description"] += (
                f" Files in the sandbox are {SANDBOX_SCALE} times smaller than real ones, so a volume is full at "
                f"1/{SANDBOX_SCALE} of its capacity."
            )
    return objects


async def apply_classes(kube: Kube) -> None:
    """Create or correct them all."""
    for item in load():
        kind = DRIVERS if item["kind"] == "CSIDriver" else CLASSES
        await kube.apply(path(kind, name=item["metadata"]["name"]), item, manager="sandbox-volumes")
