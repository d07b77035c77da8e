"""Small types of Kubernetes that fields of several parameter models have."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Annotated, Literal

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


Name = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        max_length=63,
        description="a Kubernetes name: lower-case letters, digits and '-', at most 63",
    ),
]
Image = Annotated[
    str,
    Field(pattern=r"^[^\s]+$", description="an image with its version: repo/name:v1.2 or repo/name@sha256:…"),
    AfterValidator(_pinned),
]
Quantity = Annotated[str, Field(pattern=r"^[1-9]\d*(Ki|Mi|Gi|Ti)$", description="a quantity such as 200Gi")]
AccessMode = Literal["ReadWriteOnce", "ReadWriteOncePod", "ReadOnlyMany", "ReadWriteMany"]
Cidr = Annotated[
    str, Field(description="addresses such as 10.0.0.0/16"), AfterValidator(lambda text: str(ip_network(text)))
]
Version = Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$", description="a version such as 1.2.3")]
