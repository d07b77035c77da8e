"""An image that is always the same one."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field


def _pinned(image: str) -> str:
    name, at, digest = image.partition("@")
    if at:
        if not re.fullmatch("sha256:[0-9a-f]{64}", digest):
            raise ValueError("a digest is sha256: and 64 hexadecimal digits")
        return image
    tag = name.rsplit("/", 1)[-1].partition(":")[2]
    if tag in ("", "latest"):
        raise ValueError("name a version (image:tag or image@sha256:...); what `latest` is changes between two pods")
    return image


Image = Annotated[
    str,
    Field(pattern=r"^[^\s]+$", description="an image with its version: repo/name:v1.2 or repo/name@sha256:…"),
    AfterValidator(_pinned),
]
